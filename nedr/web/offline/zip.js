// Files in one ZIP, as they are: pictures are packed already.
import { crc } from "./metadata.js";

const NAMES_IN_UTF8 = 0x0800, DATE = 0x21; // the first day that the format knows

function header(signature, fields) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 4)), view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  let at = 4;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

// A growing archive: add(name, blob), then done(), a blob.
export class Zip {
  parts = [];
  directory = [];
  names = new Set();
  size = 0;

  async add(wanted, blob) {
    const name = new TextEncoder().encode(this.free(wanted)), sum = crc(new Uint8Array(await blob.arrayBuffer()));
    const shared = [[2, 20], [2, NAMES_IN_UTF8], [2, 0], [2, 0], [2, DATE], [4, sum], [4, blob.size], [4, blob.size], [2, name.length], [2, 0]];
    const local = header(0x04034b50, shared);
    this.directory.push(header(0x02014b50, [[2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, this.size]]), name);
    this.parts.push(local, name, blob);
    this.size += local.length + name.length + blob.size;
  }

  // `name`, or with a number before its suffix where it is taken.
  free(name) {
    let free = name;
    for (let k = 2; this.names.has(free); k += 1) free = name.replace(/(\.[^.]*)?$/, `-${k}$1`);
    this.names.add(free);
    return free;
  }

  done() {
    const count = this.directory.length / 2, length = this.directory.reduce((sum, part) => sum + part.length, 0);
    const end = header(0x06054b50, [[2, 0], [2, 0], [2, count], [2, count], [4, length], [4, this.size], [2, 0]]);
    return new Blob([...this.parts, ...this.directory, end], { type: "application/zip" });
  }
}
