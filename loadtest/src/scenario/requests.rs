//! Requests at given times, whether or not earlier ones were answered.

use crate::{
    arrivals::{Arrivals, Pattern},
    clock::Micros,
    people::address,
    recorder::{Recorder, Timing},
    report::Report,
    run::Run,
};
use anyhow::{Result, ensure};
use reqwest::{RequestBuilder, Response};
use roost_client::Endpoint;
use serde::{Deserialize, de::IgnoredAny};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

/// Addresses that requests come from, each with connections of its own, which stay open.
const ADDRESSES: usize = 32;
/// As far apart as `people::address` puts them.
const APART: usize = 50;

/// One sort of request.
pub(super) struct Part {
    pub(super) timing: Timing,
    /// A second.
    pub(super) rate: f64,
    pub(super) duration: Duration,
}

/// Where requests are sent from.
pub(super) fn endpoints(url: &str) -> Result<Vec<Endpoint>> {
    let endpoint = Endpoint::new(url)?;
    let from = |number: usize| Ok(endpoint.from_address(address(number * APART))?);
    (0..ADDRESSES).map(from).collect()
}

/// Sends requests of one sort, and adds what they took to the report. `make`: the request with a number.
pub(super) async fn measure(
    run: &Run,
    part: &Part,
    report: &mut Report,
    make: impl Fn(u64) -> Result<RequestBuilder> + Send + 'static,
) -> Result<()> {
    let (come, mut requests) = mpsc::unbounded_channel();
    let arrivals = Arrivals::start(part.rate, Pattern::Random, move |number, due| {
        // An error: the part is over.
        let _ = come.send((make(number), due));
    });
    let (recorder, timing) = (Arc::clone(&run.recorder), part.timing);
    let sending = async {
        let mut under_way = JoinSet::new();
        while let Some((request, due)) = requests.recv().await {
            match request {
                Ok(request) => {
                    under_way.spawn(send(request, due, timing, Arc::clone(&recorder)));
                }
                Err(error) => recorder.fail(due, &format!("{error:#}")),
            }
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    };
    // Once the arrivals stop, no request comes any more.
    let measuring = async {
        let window = run.measure(timing, part.duration).await;
        // What is answered after the window took none of its processor time.
        (window, run.recorder.count(timing), arrivals.stop())
    };
    let ((), (window, count, ended)) = tokio::join!(sending, measuring);
    let window = window?;
    ended?;
    window.judge(run)?;
    report.add_rate(timing.name(), count, window.took);
    report.add_costs(&window, timing.name(), count);
    report.add_times(&run.recorder, timing);
    Ok(())
}

async fn send(request: RequestBuilder, due: Micros, timing: Timing, recorder: Arc<Recorder>) {
    recorder.note_start(due);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => match read(answer).await {
            Ok(bytes) => {
                recorder.count_bytes(bytes);
                recorder.record(timing, due);
            }
            Err(error) => recorder.fail(due, &error.to_string()),
        },
        Ok(refusal) => recorder.fail(due, refusal.status().as_str()),
        Err(_) => recorder.fail(due, "no answer"),
    }
}

/// Gives the length of the body. GraphQL tells of errors in there.
async fn read(answer: Response) -> Result<usize> {
    let body = answer.bytes().await?;
    ensure!(!has_errors(&body), "errors in the answer");
    Ok(body.len())
}

fn has_errors(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        errors: Option<IgnoredAny>,
    }
    // A derived struct is also read from an array, as REST may answer one.
    body.starts_with(b"{")
        && serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.errors.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_field_is_an_error() {
        assert!(has_errors(br#"{"errors":[{"message":"no"}]}"#));
        assert!(has_errors(br#"{"data":null,"errors":[{"message":"no"}]}"#));
        assert!(!has_errors(br#"{"data":{"errors":[]}}"#));
        assert!(!has_errors(b"[1]"));
    }
}
