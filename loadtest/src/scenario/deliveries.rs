//! What came of people's writes: the part that scenarios with one series of writes have in common.

use super::{Sent, add_faults, finish, writers::Writers};
use crate::{
    recorder::Timing,
    report::Report,
    run::{Run, Window, drain},
    socket::{Reader, Socket, Stream},
};
use anyhow::Result;
use std::time::Duration;

pub(super) struct Deliveries {
    pub(super) window: Window,
    delivered: u64,
    pub(super) sent: Vec<Sent>,
    pub(super) readers: Vec<Reader>,
}

impl Deliveries {
    /// Measures while people write, lets what they wrote arrive, and closes the sockets.
    pub(super) async fn measure(
        run: &Run,
        writers: Writers,
        sockets: Vec<Socket>,
        duration: Duration,
    ) -> Result<Self> {
        let window = run.measure(Timing::Delivery, duration).await?;
        let delivered = run.recorder.count(Timing::Delivery);
        let sent = writers.stop()?;
        window.judge(run)?;
        // Pointers are not answered.
        let kept = sent.iter().filter(|sent| sent.stream == Stream::Kept);
        drain(&run.recorder, kept.map(|sent| sent.count).sum()).await;
        let readers = finish(sockets).await?;
        Ok(Self {
            window,
            delivered,
            sent,
            readers,
        })
    }

    /// A report that begins with what a delivery cost.
    pub(super) fn report(&self, title: impl Into<String>) -> Report {
        let mut report = Report::new(title);
        report.add_rate("delivery", self.delivered, self.window.took);
        report.add_costs(&self.window, "delivery", self.delivered);
        report
    }

    /// Adds how much later than due the generator did its own work, which is a part of the times, and what went wrong.
    /// `missing`: what a write is called that did not come.
    pub(super) fn add_faults(&self, report: &mut Report, run: &Run, missing: &str) {
        report.add_lateness(&run.recorder);
        add_faults(report, run, missing, &self.readers, &self.sent);
    }
}
