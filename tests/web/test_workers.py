"""The processes that work: ended when their time is over, replaced, and fair."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from nedr.errors import ImageError
from nedr.web.limits import Limits, Refusal
from nedr.web.workers import Pool


def number(dehazer):
    return os.getpid()


def sleeping(dehazer, path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def dying(dehazer):
    os._exit(3)


def refusing(dehazer):
    raise ImageError("no picture")


def touching(dehazer, path):
    path.touch()


def pooled(scene, **limits):
    """Run a scene with a pool of one worker, which is closed behind it."""

    async def whole():
        pool = Pool(Limits(**{"workers": 1} | limits), None, workers=1)
        try:
            return await scene(pool)
        finally:
            pool.close()

    return asyncio.run(whole())


async def appears(path):
    while not (path.exists() and path.read_text()):
        await asyncio.sleep(0.02)
    return int(path.read_text())


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] != "Z"


def test_errors_come_back_and_a_process_that_dies_is_replaced():
    async def scene(pool):
        first = await pool.run("a", (number, ()))
        with pytest.raises(ImageError, match="no picture"):
            await pool.run("a", (refusing, ()))
        assert await pool.run("a", (number, ())) == first  # the same process goes on
        with pytest.raises(Refusal) as caught:
            await pool.run("a", (dying, ()))
        assert caught.value.status == 503
        return first, await pool.run("a", (number, ())), pool.admitted

    first, second, admitted = pooled(scene)
    assert first != second
    assert admitted == 0


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_answer():
    async def scene(pool):
        first = await pool.run("a", (number, ()))
        os.kill(first, signal.SIGKILL)
        while is_running(first):
            await asyncio.sleep(0.02)
        return first, await pool.run("a", (number, ()))

    first, second = pooled(scene)
    assert first != second


def test_where_no_process_can_be_started_the_place_is_given_back(monkeypatch):
    async def scene(pool):
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_new", no_memory)
            with pytest.raises(Refusal, match="cannot start a process") as caught:
                await pool.run("a", (number, ()))
        assert (caught.value.status, pool.admitted) == (503, 0)
        return await pool.run("a", (number, ()))

    assert pooled(scene) > 0


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_nobody_waits_for_a_process_to_start_beside_a_caller_who_has_all_others_or_brings_them_down(
    tmp_path, monkeypatch
):
    async def scene(pool):
        pool.warm()
        ready = [worker._process.pid for worker in pool._all]
        with pytest.raises(Refusal):
            await pool.run("a", (dying, ()))
        fresh = [worker._process.pid for worker in pool._all]
        monkeypatch.setattr(pool, "_new", no_memory)
        greedy = asyncio.create_task(pool.run("a", (sleeping, (tmp_path / "pid",))))
        at_work = [await appears(tmp_path / "pid"), await pool.run("b", (number, ()))]
        greedy.cancel()
        return ready, fresh, at_work

    ready, fresh, at_work = pooled(scene)
    assert len(ready) == len(fresh) == 2
    assert len({*ready, *fresh}) == 3
    assert sorted(at_work) == sorted(fresh)


def no_memory():
    raise OSError("Cannot allocate memory")


def test_a_pool_that_was_closed_starts_new_processes():
    async def scene(pool):
        first = await pool.run("a", (number, ()))
        pool.close()
        return first, await pool.run("a", (number, ()))

    first, second = pooled(scene)
    assert first != second


def test_the_time_that_is_over_is_the_works_own(tmp_path):
    async def scene(pool):
        with pytest.raises(Refusal) as caught:
            await pool.run("a", (sleeping, (tmp_path / "pid",)), seconds=0.05)
        assert caught.value.text == "not done within 0.05 s"

    pooled(scene)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc")
def test_work_past_its_time_is_really_ended(tmp_path):
    async def scene(pool):
        pid = await pool.run("a", (number, ()))
        with pytest.raises(Refusal) as caught:
            await pool.run("a", (sleeping, (tmp_path / "pid",)), seconds=0.5)
        assert caught.value.status == 503
        while is_running(pid):
            await asyncio.sleep(0.02)
        return await pool.run("a", (number, ())) != pid

    assert pooled(scene)


def test_work_whose_caller_has_gone_is_ended_and_what_waits_never_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("nedr.web.workers.GRACE", 0.1)

    async def scene(pool):
        running = asyncio.create_task(pool.run("a", (sleeping, (tmp_path / "pid",))))
        pid = await appears(tmp_path / "pid")
        waiting = asyncio.create_task(pool.run("a", (touching, (tmp_path / "never",))))
        await asyncio.sleep(0)
        running.cancel()
        waiting.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        while pool.admitted:
            await asyncio.sleep(0.02)
        return is_running(pid)

    assert pooled(scene) is False
    assert not (tmp_path / "never").exists()


def test_a_place_whose_caller_hangs_up_as_its_turn_comes_is_not_lost():
    async def scene(pool):
        held = [pool._place("a"), pool._place("b")]
        waiting = asyncio.create_task(pool.run("c", (number, ())))
        await asyncio.sleep(0)
        assert pool.admitted == 3
        waiting.cancel()
        for place in held:
            pool._leave(place)
        await asyncio.wait([waiting])
        return waiting.cancelled(), pool.admitted

    assert pooled(scene) == (True, 0)


def test_a_caller_with_nothing_at_work_comes_at_once_and_first(tmp_path):
    """Three long works of one caller keep neither another one's work nor its place from it."""

    async def scene(pool):
        greedy = [asyncio.create_task(pool.run("a", (sleeping, (tmp_path / str(k),)))) for k in range(3)]
        await appears(tmp_path / "0")
        assert pool.admitted == 3
        with pytest.raises(Refusal) as caught:
            await pool.run("a", (number, ()))  # no place left for the same one
        assert caught.value.status == 429
        pool.check("b")
        await pool.run("b", (number, ()))
        done, _ = await asyncio.wait(greedy, timeout=0)
        for task in greedy:
            task.cancel()
        return [task.exception().status for task in done]

    assert pooled(scene, queue=2) == [429]  # the greedy caller's last place made room
