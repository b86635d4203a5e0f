/**
 * A terminal's screen: lines that scroll by, and below them a few status lines that are rewritten in place. Where the output
 * is no terminal (a pipe, a file, CI) only the scrolling lines come out, without colours. Colours honour NO_COLOR.
 */
export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly terminal: boolean;
  readonly #colours: boolean;
  #statusLines = 0;

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
    this.terminal = out.isTTY === true && process.env.TERM !== 'dumb';
    this.#colours = this.terminal && !process.env.NO_COLOR;
  }

  /** A line that stays. */
  print(text = ''): void {
    this.#out.write(`${this.#erase()}${text}\n`);
  }

  /** Replaces the status lines; on anything but a terminal they are left out. Lines are cut at the terminal's width. */
  status(lines: readonly string[]): void {
    if (!this.terminal) return;
    const width = (this.#out.columns || 80) - 1;
    this.#out.write(this.#erase() + lines.map((line) => `${cut(line, width)}\n`).join(''));
    this.#statusLines = lines.length;
  }

  bold(text: string): string {
    return this.#paint(1, 22, text);
  }

  dim(text: string): string {
    return this.#paint(2, 22, text);
  }

  green(text: string): string {
    return this.#paint(32, 39, text);
  }

  red(text: string): string {
    return this.#paint(31, 39, text);
  }

  cyan(text: string): string {
    return this.#paint(36, 39, text);
  }

  #paint(on: number, off: number, text: string): string {
    return this.#colours ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  }

  /** Moves up over the status lines and clears from there on. */
  #erase(): string {
    const lines = this.#statusLines;
    this.#statusLines = 0;
    return lines === 0 ? '' : `\x1b[${lines}A\r\x1b[J`;
  }
}

/** At most `width` visible characters; a longer line loses its colours too, which is rare and short-lived. */
function cut(line: string, width: number): string {
  const plain = stripColours(line);
  return plain.length <= width ? line : plain.slice(0, width);
}

/** Text without escape sequences for colours. */
export function stripColours(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what is looked for
  return text.replaceAll(/\x1b\[\d+m/g, '');
}

/** Rows as columns: the first to the left, the others to the right, two blanks between. Colours don't count as width. */
export function columns(rows: readonly (readonly string[])[], leftColumns = 1): string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, stripColours(cell).length);
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const pad = ' '.repeat(widths[i]! - stripColours(cell).length);
        return i < leftColumns ? cell + pad : pad + cell;
      })
      .join('  ')
      .trimEnd(),
  );
}
