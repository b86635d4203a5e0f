/**
 * How long a lcore polls on with nothing to do before it sleeps. Waking up costs some ten microseconds and a packet's patience;
 * polling costs the CPU, which guests on the same machine may need. So the past decides, as in KVM's halt polling: where a sleep
 * was so short that polling on would have met the packet, it polls twice as long the next time; else half as long, and after a
 * pause of the traffic hardly at all.
 */

/** A sleep shorter than this would have been avoided by polling on. */
const SHORT_SLEEP_US = 200;
/** A sleep longer than this is a pause. */
const PAUSE_US = 5000;
/** Empty polls before a sleep at the least. */
const LEAST_POLLS = 64;

export class IdleLimit {
  /** Empty polls in a row after which the lcore sleeps. */
  polls: number;
  readonly #most: number;

  /** @param most polls, also the first time */
  constructor(most: number) {
    this.#most = most;
    this.polls = most;
  }

  /** A sleep has lasted so long. */
  slept(us: number): void {
    let polls = LEAST_POLLS;
    if (us < SHORT_SLEEP_US) polls = this.polls * 2;
    else if (us < PAUSE_US) polls = Math.floor(this.polls / 2);
    this.polls = Math.min(this.#most, Math.max(LEAST_POLLS, polls));
  }
}
