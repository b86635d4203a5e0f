import { LCORE_SIZE } from './layout';
export function probe(a: usize): u32 { return load<u32>(a + LCORE_SIZE); }
