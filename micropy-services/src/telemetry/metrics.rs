//! Counters for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use micropy_core::ports::jobs::Census;
use micropy_core::ports::{Timestamp, jobs::State};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

type Labels = [(&'static str, &'static str); 1];

/// The counters of the services in a process. Give all of them the same one.
pub struct Metrics {
    registry: Registry,
    jobs: Family<Labels, Counter>,
    states: Family<Labels, Gauge>,
    duration: Histogram,
    realtime: Histogram,
    oldest: Gauge<f64, AtomicU64>,
    uploaded: Counter,
    mails: Family<Labels, Counter>,
    webhooks: Family<Labels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let jobs = Family::default();
        let states = Family::default();
        let duration = Histogram::new([
            0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
        ]);
        let realtime = Histogram::new([1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0]);
        let oldest = Gauge::default();
        let uploaded = Counter::default();
        let mails = Family::default();
        let webhooks = Family::default();

        let mut registry = Registry::with_prefix("micropy");
        registry.register("jobs", "Finished jobs, by outcome", jobs.clone());
        registry.register("jobs_now", "Jobs in the ledger, by state", states.clone());
        registry.register_with_unit(
            "job_duration",
            "Duration of conversions",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "realtime_factor",
            "Length of the audio divided by the duration of its conversion",
            realtime.clone(),
        );
        registry.register_with_unit(
            "queue_oldest",
            "Waiting time of the oldest queued job",
            Unit::Seconds,
            oldest.clone(),
        );
        registry.register_with_unit(
            "uploaded",
            "Bytes of video received",
            Unit::Bytes,
            uploaded.clone(),
        );
        registry.register("mails", "Mails, by outcome", mails.clone());
        registry.register(
            "webhooks",
            "Calls of webhooks, by outcome",
            webhooks.clone(),
        );
        Metrics {
            registry,
            jobs,
            states,
            duration,
            realtime,
            oldest,
            uploaded,
            mails,
            webhooks,
        }
    }
}

impl Metrics {
    /// Counts a conversion that took `took`, of so much audio where it succeeded.
    pub(crate) fn job_ended(&self, outcome: &'static str, took: Duration, audio: Option<Duration>) {
        self.jobs.get_or_create(&[("outcome", outcome)]).inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(audio) = audio
            && !took.is_zero()
        {
            self.realtime
                .observe(audio.as_secs_f64() / took.as_secs_f64());
        }
    }

    /// Counts bytes of video.
    pub(crate) fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    /// Counts a mail.
    pub(crate) fn mail(&self, outcome: &'static str) {
        self.mails.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts a call of a webhook.
    pub(crate) fn webhook(&self, outcome: &'static str) {
        self.webhooks.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// The counters in the OpenMetrics text format, together with the counts of the ledger.
    pub(crate) fn text(&self, census: &Census, now: Timestamp) -> String {
        for state in State::ALL {
            let count = census
                .states
                .iter()
                .find(|(s, _)| *s == state)
                .map_or(0, |(_, n)| *n);
            let gauge = self.states.get_or_create(&[("state", state.name())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let waited = census.oldest_queued.map(|since| now.since(since));
        self.oldest.set(waited.unwrap_or_default().as_secs_f64());
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
