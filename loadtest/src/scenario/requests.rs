//! Requests at given times, whether or not earlier ones were answered.

use crate::{
    arrivals::{Arrivals, Pattern},
    clock::Micros,
    people::address,
    recorder::{Recorder, Timing},
    report::Report,
    run::Run,
};
use anyhow::Result;
use reqwest::{RequestBuilder, Response};
use roost_client::Endpoint;
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
        // An error: the part is over, or a request cannot be made, which then is not counted.
        if let Ok(request) = make(number) {
            let _ = come.send((request, due));
        }
    });
    let (recorder, timing) = (Arc::clone(&run.recorder), part.timing);
    let sending = async {
        let mut under_way = JoinSet::new();
        while let Some((request, due)) = requests.recv().await {
            under_way.spawn(send(request, due, timing, Arc::clone(&recorder)));
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    };
    // Once the arrivals stop, no request comes any more.
    let measuring = async {
        let window = run.measure(timing, part.duration).await;
        (window, arrivals.stop())
    };
    let ((), (window, late)) = tokio::join!(sending, measuring);
    let window = window?;
    window.judge(&run.options, &late)?;
    let count = run.recorder.count(timing);
    report.add_rate(timing.name(), count, window.took);
    report.add_costs(&window, timing.name(), count);
    report.add_times(&run.recorder, timing);
    Ok(())
}

async fn send(request: RequestBuilder, due: Micros, timing: Timing, recorder: Arc<Recorder>) {
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
    anyhow::ensure!(!body.starts_with(br#"{"errors""#), "errors in the answer");
    Ok(body.len())
}
