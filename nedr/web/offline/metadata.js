// EXIF and profiles: found in JPEG, PNG and WebP, made true of the upright picture, put into JPEG and PNG.
const ORIENTATION = 0x0112, EXIF_DIRECTORY = 0x8769;
const OTHER = new Map([[0x0100, 0x0101], [0x0101, 0x0100], [0xa002, 0xa003], [0xa003, 0xa002]]); // width and height

const text = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

// The segments of a JPEG up to its scan: { marker, start, end } of each body.
function* segments(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const end = at + 2 + view.getUint16(at + 2);
    if (end > bytes.length) return;
    yield { marker: bytes[at + 1], start: at + 4, end };
    at = end;
  }
}

// The chunks of a PNG or the body of a WebP: { name, start, end } of each.
function* chunks(bytes, png) {
  const view = new DataView(bytes.buffer);
  for (let at = png ? 8 : 12; at + 8 <= bytes.length;) {
    const length = png ? view.getUint32(at) : view.getUint32(at + 4, true), start = at + 8, end = start + length;
    if (end > bytes.length) return;
    yield { name: text(bytes, png ? at + 4 : at, 4), start, end };
    at = png ? end + 4 : end + (length % 2);
  }
}

// What a file says of itself: { kind: "jpeg", "png", "webp" or "other", grey, exif without a prefix or null, icc or null }.
export async function about(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return jpeg(bytes);
  const png = text(bytes, 1, 3) === "PNG", webp = text(bytes, 8, 4) === "WEBP";
  if (!png && !webp) return { kind: "other", grey: false, exif: null, icc: null };
  const all = [...chunks(bytes, png)], body = (...names) => {
    const held = all.find(({ name }) => names.includes(name));
    return held ? bytes.slice(held.start, held.end) : null;
  };
  const exif = body("eXIf", "EXIF"), icc = body("iCCP", "ICCP");
  return { kind: png ? "png" : "webp", grey: png && [0, 4].includes(bytes[25]), exif: exif && unprefixed(exif), icc: png && icc ? await unpacked(icc) : icc };
}

function jpeg(bytes) {
  const all = [...segments(bytes)], frame = all.find(({ marker }) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
  const named = (marker, name) => all.filter((one) => one.marker === marker && text(bytes, one.start, name.length) === name);
  const [held] = named(0xe1, "Exif"), parts = named(0xe2, "ICC_PROFILE").sort((a, b) => bytes[a.start + 12] - bytes[b.start + 12]);
  const icc = joined(parts.map(({ start, end }) => bytes.slice(start + 14, end)));
  return { kind: "jpeg", grey: Boolean(frame) && bytes[frame.start + 5] === 1, exif: held ? bytes.slice(held.start + 6, held.end) : null, icc: parts.length ? icc : null };
}

function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (out.set(part, at), at + part.length), 0);
  return out;
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// The profile in a PNG's chunk: after its name and a byte, deflated.
function unpacked(chunk) {
  return through(new DecompressionStream("deflate"), chunk.subarray(chunk.indexOf(0) + 2)).catch(() => null);
}

function unprefixed(exif) {
  return text(exif, 0, 4) === "Exif" ? exif.slice(6) : exif;
}

// EXIF for the upright picture: orientation 1, no thumbnail, dimensions swapped where it was turned; null if damaged.
export function upright(exif) {
  try {
    const view = new DataView(exif.buffer), little = exif[0] === 0x49, first = view.getUint32(4, little);
    const turned = stated(view, little, first) > 4;
    for (const at of entries(view, little, first)) {
      const tag = view.getUint16(at, little);
      if (tag === ORIENTATION) view.setUint16(at + 8, 1, little);
      if (tag === EXIF_DIRECTORY && turned) exchange(view, little, view.getUint32(at + 8, little));
    }
    if (turned) exchange(view, little, first);
    view.setUint32(first + 2 + 12 * view.getUint16(first, little), 0, little);
    return exif;
  } catch {
    return null;
  }
}

function entries(view, little, directory) {
  return Array.from({ length: view.getUint16(directory, little) }, (_, k) => directory + 2 + 12 * k);
}

function stated(view, little, first) {
  const at = entries(view, little, first).find((entry) => view.getUint16(entry, little) === ORIENTATION);
  return at ? view.getUint16(at + 8, little) : 1;
}

// Width is called height and the other way round; values stay where they are.
function exchange(view, little, directory) {
  for (const at of entries(view, little, directory)) {
    const other = OTHER.get(view.getUint16(at, little));
    if (other) view.setUint16(at, other, little);
  }
}

// A JPEG or PNG that the browser has written, with EXIF and a profile, each of which may be null; the profile takes the
// place of the browser's own.
export async function carrying(blob, exif, icc) {
  if (blob.type === "image/jpeg") return withSegments(blob, exif, icc);
  const head = new Uint8Array(await blob.slice(0, HEAD).arrayBuffer()), deflated = icc && await through(new CompressionStream("deflate"), icc);
  const added = [icc && chunk("iCCP", joined([coded("ICC\0\0"), deflated])), exif && chunk("eXIf", exif)].filter(Boolean);
  const own = icc ? [...chunks(head, true)].filter(({ name }) => COLOURS.includes(name)).map(({ start, end }) => [start - 8, end + 4]) : [];
  return inserted(blob, 33, added, own); // after IHDR
}

const HEAD = 1 << 16; // bytes in which a browser says all that it says of colours
const COLOURS = ["iCCP", "sRGB", "cICP", "gAMA", "cHRM"];
const SEGMENT = 65000; // bytes that one holds, and a little less

// A blob with parts put in at a place, and without some ranges behind it.
function inserted(blob, at, parts, cut) {
  const edges = [at, ...cut.flat(), blob.size], left = [];
  for (let k = 0; k < edges.length; k += 2) left.push(blob.slice(edges[k], edges[k + 1]));
  return new Blob([blob.slice(0, at), ...parts, ...left], { type: blob.type });
}

const coded = (name) => new TextEncoder().encode(name);

async function withSegments(blob, exif, icc) {
  const head = new Uint8Array(await blob.slice(0, HEAD).arrayBuffer()), at = head[3] === 0xe0 ? 4 + head[5] : 2; // after JFIF
  const own = icc ? [...segments(head)].filter(({ marker, start }) => marker === 0xe2 && text(head, start, 11) === "ICC_PROFILE").map(({ start, end }) => [start - 4, end]) : [];
  const count = icc ? Math.ceil(icc.length / SEGMENT) : 0;
  const profile = Array.from({ length: count }, (_, k) => segment(0xe2, coded("ICC_PROFILE\0"), Uint8Array.of(k + 1, count), icc.subarray(k * SEGMENT, (k + 1) * SEGMENT)));
  const described = exif && exif.length <= SEGMENT ? [segment(0xe1, coded("Exif\0\0"), exif)] : [];
  return inserted(blob, at, [...described, ...profile], own);
}

function segment(marker, ...parts) {
  const body = joined(parts), length = body.length + 2;
  return joined([Uint8Array.of(0xff, marker, length >> 8, length & 255), body]);
}

function chunk(name, body) {
  const bytes = joined([new Uint8Array(4), coded(name), body, new Uint8Array(4)]), view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  view.setUint32(bytes.length - 4, crc(bytes.subarray(4, -4)));
  return bytes;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

// CRC-32, as in PNG and ZIP.
export function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}
