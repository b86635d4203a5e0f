/**
 * Guest regions: guest physical address → linear address. A translation takes the length too and succeeds only if the whole
 * range lies in one region (hostile input G1): never by its start alone.
 */
import {
  DEVICE_REGION_COUNT,
  DEVICE_REGIONS,
  REGION_GUEST,
  REGION_LENGTH,
  REGION_LINEAR,
  REGION_SIZE,
} from '../layout';

/**
 * Linear address of [guest, guest + length), or 0. The first region, the largest by the control plane's order, is tried
 * inline; `offset < size` before `length <= size - offset`, so that nothing wraps.
 */
// @ts-ignore: decorator
@inline
export function translate(device: usize, guest: u64, length: u32): usize {
  const size = load<u64>(device, DEVICE_REGIONS + REGION_LENGTH);
  const offset = guest - load<u64>(device, DEVICE_REGIONS + REGION_GUEST);
  if (offset < size && <u64>length <= size - offset) {
    return <usize>load<u32>(device, DEVICE_REGIONS + REGION_LINEAR) + <usize>offset;
  }
  return translateOther(device, guest, length);
}

function translateOther(device: usize, guest: u64, length: u32): usize {
  const region = regionWith(device, guest, length);
  return region != 0 ? <usize>load<u32>(region, REGION_LINEAR) + <usize>(guest - load<u64>(region, REGION_GUEST)) : 0;
}

/** The record of the region that holds [guest, guest + length), for those who look into the first one themselves; or 0. */
export function otherRegion(device: usize, guest: u64, length: u32): usize {
  return load<u32>(device, DEVICE_REGION_COUNT) > 1 ? regionWith(device, guest, length) : 0;
}

/** Address of the record of the region that holds [guest, guest + length), or 0. */
function regionWith(device: usize, guest: u64, length: u32): usize {
  const end = device + DEVICE_REGIONS + load<u32>(device, DEVICE_REGION_COUNT) * REGION_SIZE;
  for (let region = device + DEVICE_REGIONS; region < end; region += REGION_SIZE) {
    const size = load<u64>(region, REGION_LENGTH);
    const offset = guest - load<u64>(region, REGION_GUEST);
    if (offset < size && <u64>length <= size - offset) return region;
  }
  return 0;
}

/** `translate` for the control plane and tests, the guest address in two words. */
export function regionTranslate(device: usize, guestLow: u32, guestHigh: u32, length: u32): usize {
  return translate(device, ((<u64>guestHigh) << 32) | <u64>guestLow, length);
}
