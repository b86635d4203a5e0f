import { cpus } from 'node:os';

/** One thing to measure. */
export interface BenchRow {
  /** Unique within its file; what --compare matches. */
  readonly name: string;
  /** Packets (or objects) that one call of `fn` handles. */
  readonly packetsPerIteration: number;
  /** Does the work once and leaves everything as it was, so that it can be called for ever. */
  readonly fn: () => unknown;
  /** What to hold the figure against, for people. */
  readonly mark?: string;
}

/** What a bench file exports. */
export interface BenchFile {
  readonly rows: readonly BenchRow[];
  /** Called once all rows have been measured. */
  readonly close?: () => void | Promise<void>;
}

/** Nanoseconds: quartiles over the samples, each the mean of many calls. */
export interface Measured {
  readonly file: string;
  readonly name: string;
  readonly packetsPerIteration: number;
  readonly mark?: string;
  readonly samples: number;
  /** Per packet. */
  readonly p25Ns: number;
  readonly medianNs: number;
  readonly p75Ns: number;
  /** Per call of the row's function. */
  readonly iterationNs: number;
}

/** What is saved. */
export interface Report {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly rows: readonly Measured[];
}

export function createReport(rows: readonly Measured[]): Report {
  return {
    date: new Date().toISOString(),
    node: process.version,
    cpu: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    rows,
  };
}

/** The value below which the share `q` of the samples lies. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.round((sorted.length - 1) * q)]!;
}

const COLUMNS = ['ns/packet', 'p25', 'p75', 'Mpps', 'ns/call'];

/** The rows as a table; with an earlier report, how many times as long each row takes now. */
export function formatReport(report: Report, earlier?: Report): string {
  const lines: string[][] = [['', ...COLUMNS, ...(earlier ? ['× earlier'] : []), '']];
  let file = '';
  for (const row of report.rows) {
    if (row.file !== file) {
      file = row.file;
      lines.push([file]);
    }
    const cells = [
      `  ${row.name}`,
      row.medianNs.toFixed(2),
      row.p25Ns.toFixed(2),
      row.p75Ns.toFixed(2),
      (1000 / row.medianNs).toFixed(1),
      row.iterationNs.toFixed(1),
    ];
    if (earlier) {
      const before = earlier.rows.find((other) => other.file === row.file && other.name === row.name);
      cells.push(before ? (row.medianNs / before.medianNs).toFixed(2) : 'new');
    }
    lines.push([...cells, row.mark ?? '']);
  }
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0)));
  const table = lines.map((cells) =>
    cells
      .map((cell, i) => (i === 0 || i === widths.length - 1 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
  const from = earlier ? `, against ${earlier.date} (${earlier.node}, ${earlier.cpu})` : '';
  return `${report.date}, ${report.node}, ${report.cpu}${from}\n${table.join('\n')}`;
}
