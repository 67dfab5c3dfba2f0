// NPZ: arrays as NumPy reads them, in a ZIP without compression.
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crcOf(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// As `numpy.lib.format` describes it, version 1.0.
function npyOf({ type, shape, bytes }) {
  const size = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${size}), }`;
  const header = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + "\n";
  const found = new Uint8Array(10 + header.length + bytes.length);
  found.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  found.set(new TextEncoder().encode(header), 10);
  found.set(bytes, 10 + header.length);
  return found;
}

// `arrays` by name, each { type, shape, bytes }.
function npzOf(arrays) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, array] of Object.entries(arrays)) {
    const [file, title] = [npyOf(array), new TextEncoder().encode(`${name}.npy`)];
    const common = new DataView(new ArrayBuffer(26)); // as of the version that is needed, in both headers
    [20, 0, 0, 0, 0x21].forEach((value, place) => common.setUint16(2 * place, value, true));
    common.setUint32(10, crcOf(file), true);
    common.setUint32(14, file.length, true);
    common.setUint32(18, file.length, true);
    common.setUint16(22, title.length, true);
    const local = [Uint8Array.of(0x50, 0x4b, 3, 4), new Uint8Array(common.buffer), title];
    const central = new DataView(new ArrayBuffer(14)); // comment, disk, attributes, offset
    central.setUint32(10, offset, true);
    directory.push(Uint8Array.of(0x50, 0x4b, 1, 2, 20, 0), new Uint8Array(common.buffer), new Uint8Array(central.buffer), title);
    parts.push(...local, file);
    offset += 4 + 26 + title.length + file.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, Object.keys(arrays).length, true);
  end.setUint16(10, Object.keys(arrays).length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, new Uint8Array(end.buffer)], { type: "application/zip" });
}
