/** One entry of an initramfs. Parents must come before their children. */
export interface CpioEntry {
  readonly path: string;
  /** File type and permissions, as in st_mode. */
  readonly mode: number;
  readonly data?: Uint8Array;
  /** Character device. */
  readonly device?: { readonly major: number; readonly minor: number };
}

export const MODE_DIRECTORY = 0o040755;
export const MODE_FILE = 0o100644;
export const MODE_PROGRAM = 0o100755;
export const MODE_LINK = 0o120777;
export const MODE_CHAR_DEVICE = 0o020600;

/** Packs an archive in the "newc" format that the kernel unpacks as its first root (initramfs buffer format). */
export function packCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const all = [...entries, { path: 'TRAILER!!!', mode: 0 }];
  all.forEach((entry: CpioEntry, index) => {
    const name = Buffer.from(`${entry.path}\0`);
    const data = entry.data ?? new Uint8Array(0);
    const { major = 0, minor = 0 } = entry.device ?? {};
    // ino, mode, uid, gid, nlink, mtime, size, device, rdevice, name size, checksum
    const fields = [index + 1, entry.mode, 0, 0, 1, 0, data.length, 0, 0, major, minor, name.length, 0];
    const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
    parts.push(header, name, padding(header.length + name.length), Buffer.from(data), padding(data.length));
  });
  return Buffer.concat(parts);
}

function padding(length: number): Buffer {
  return Buffer.alloc(-length & 3);
}
