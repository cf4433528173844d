//! Charges rate limits in Redis with one script, by the clock of Redis (GCRA; see `live::limits`).

use super::Redis;
use fred::{error::Error, interfaces::LuaInterface};
use std::time::Duration;

/// For each key: adds the uses that were allowed already, then the wanted ones if the sum keeps within reach. A key
/// holds its theoretical arrival time in microseconds of Redis time, and expires when that has passed.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4
  local gap, reach = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local forced, wanted = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local due = math.max(tonumber(redis.call('GET', key) or now), now) + forced * gap
  local allowed = 0
  if due + wanted * gap <= now + reach then
    due = due + wanted * gap
    allowed = 1
  end
  if due > now then
    redis.call('SET', key, string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
  end
  answers[2 * i - 1] = allowed
  answers[2 * i] = due - now
end
return answers
";

/// The uses to count on one key.
pub(in crate::live) struct Charge {
    pub(in crate::live) name: String,
    /// The emission interval: how much time one use costs.
    pub(in crate::live) gap: Duration,
    /// The burst: how far ahead of the steady rate the key may be.
    pub(in crate::live) reach: Duration,
    /// Uses that are counted in any case, because they were allowed already.
    pub(in crate::live) forced: u32,
    /// Uses that are counted only if they keep within reach.
    pub(in crate::live) wanted: u32,
}

/// The state of a key after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::live) struct Verdict {
    /// Whether the wanted uses were counted.
    pub(in crate::live) is_allowed: bool,
    /// How far ahead of the steady rate the key is.
    pub(in crate::live) ahead: Duration,
}

/// Counts on each key, in one round trip.
pub(in crate::live) async fn charge(
    redis: &Redis,
    charges: &[Charge],
) -> Result<Vec<Verdict>, Error> {
    let keys: Vec<&str> = charges.iter().map(|charge| charge.name.as_str()).collect();
    let numbers: Vec<i64> = charges
        .iter()
        .flat_map(|charge| {
            [
                microseconds(charge.gap),
                microseconds(charge.reach),
                i64::from(charge.forced),
                i64::from(charge.wanted),
            ]
        })
        .collect();
    // Boxed: the library's future takes 7 KB, which each request would hold as long as it runs.
    let asked = Box::pin(redis.commands().eval(SCRIPT, keys, numbers));
    let answers: Vec<i64> = asked.await?;
    let (pairs, _) = answers.as_chunks::<2>();
    let verdicts = pairs.iter().map(|[allowed, ahead_us]| Verdict {
        is_allowed: *allowed == 1,
        ahead: Duration::from_micros(u64::try_from(*ahead_us).unwrap_or(0)),
    });
    Ok(verdicts.collect())
}

fn microseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
