#!/usr/bin/env python3
"""nedr in GIMP 3: Filters > Enhance > Remove Haze. Copy the folder `nedr` to the plug-ins folder (see Preferences),
executable. GIMP's own Python is not changed: the plug-in calls the command `nedr`, or the one named in NEDR.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp, Gio, GLib, GObject  # noqa: E402

NAME = "plug-in-nedr-dehaze"


def dehaze_file(source: Path, target: Path, strength: float) -> None:
    """Run the command on a file. Raises RuntimeError with its message if it fails or is missing."""
    command = [os.environ.get("NEDR", "nedr"), str(source), "-o", str(target), "--strength", f"{strength:.3f}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"{command[0]} cannot be run ({error.strerror}); set NEDR to the path of nedr") from error
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"nedr ended with status {done.returncode}")


def add_layer(image: Gimp.Image, strength: float) -> None:
    """Add the visible image, without haze, as a new layer on top."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "visible.png", Path(folder) / "dehazed.png"
        visible = image.duplicate()
        visible.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
        Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, visible, Gio.File.new_for_path(str(source)), None)
        visible.delete()
        dehaze_file(source, target, strength)
        layer = Gimp.file_load_layer(Gimp.RunMode.NONINTERACTIVE, image, Gio.File.new_for_path(str(target)))
    layer.set_name(f"dehazed {strength:g}")
    image.insert_layer(layer, None, 0)


def chosen(procedure: Gimp.Procedure, config: Gimp.ProcedureConfig) -> bool:
    """Ask for the strength; return False if the dialogue is cancelled."""
    gi.require_version("GimpUi", "3.0")
    from gi.repository import GimpUi

    GimpUi.init("nedr")
    dialog = GimpUi.ProcedureDialog.new(procedure, config, "Remove Haze")
    dialog.fill(None)
    agreed: bool = dialog.run()
    dialog.destroy()
    return agreed


class Nedr(Gimp.PlugIn):
    """The plug-in, as GIMP expects it."""

    def do_query_procedures(self):
        """The names of the procedures."""
        return [NAME]

    def do_set_i18n(self, name):
        """There are no translations."""
        return False

    def do_create_procedure(self, name):
        """The procedure, its menu entry and its argument."""
        procedure = Gimp.ImageProcedure.new(self, name, Gimp.PDBProcType.PLUGIN, self.run, None)
        procedure.set_image_types("RGB*, GRAY*")
        procedure.set_menu_label("Remove _Haze...")
        procedure.add_menu_path("<Image>/Filters/Enhance/")
        procedure.set_documentation("Remove haze", "Adds a layer that shows the image without its haze", name)
        procedure.set_attribution("The nedr developers", "Apache-2.0", "2026")
        about = "0 changes nothing, 1 removes the haze that is found"
        procedure.add_double_argument("strength", "_Strength", about, 0.0, 1.5, 1.0, GObject.ParamFlags.READWRITE)
        return procedure

    def run(self, procedure, mode, image, drawables, config, data):
        """Add the layer in one undo step."""
        status = Gimp.PDBStatusType
        if mode == Gimp.RunMode.INTERACTIVE and not chosen(procedure, config):
            return procedure.new_return_values(status.CANCEL, GLib.Error())
        image.undo_group_start()
        try:
            add_layer(image, config.get_property("strength"))
        except RuntimeError as error:
            return procedure.new_return_values(status.EXECUTION_ERROR, GLib.Error(str(error)))
        finally:
            image.undo_group_end()
        Gimp.displays_flush()
        return procedure.new_return_values(status.SUCCESS, GLib.Error())


if __name__ == "__main__":
    Gimp.main(Nedr.__gtype__, sys.argv)
