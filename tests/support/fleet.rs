//! Simulated services on many hosts, as a metrics store sees them.
//!
//! Each host counts requests, latencies, CPU and memory for the release it runs. Which release runs
//! where is set from outside (a stand-in of the deployment system does it), and how healthy a
//! release is, too. The same seed and the same calls give the same samples.
//!
//! Counters behave like a process's own: they start at zero with a new release, and a response
//! code appears only once it has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency histogram, in seconds; `+Inf` follows.
const BUCKETS: [f64; 8] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// Median latency of a healthy release, in seconds.
const MEDIAN_SECONDS: f64 = 0.08;
/// Shape of the log-logistic latency; at 3 the healthy p95 is 0.21 s.
const SHAPE: f64 = 3.0;
/// Its mean, in medians: (π / 3) / sin(π / 3).
const MEAN_PER_MEDIAN: f64 = 1.209_2;
/// CPU seconds of a healthy request.
const CPU_SECONDS: f64 = 0.004;
/// Resident memory of a healthy process.
const RESIDENT_BYTES: f64 = 180e6;
/// Requests per second and host, unless set otherwise.
const REQUESTS_PER_SECOND: f64 = 20.0;

/// How a release behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// Share of requests answered with 500.
    pub error_share: f64,
    /// Latency, as a multiple of the healthy one.
    pub latency: f64,
    /// CPU per request, likewise.
    pub cpu: f64,
    /// Resident memory, likewise.
    pub memory: f64,
}

impl Health {
    /// Three requests in a thousand fail.
    pub const GOOD: Self = Self {
        error_share: 0.003,
        latency: 1.0,
        cpu: 1.0,
        memory: 1.0,
    };
    /// Every fifth request fails, the others are slow and cost more.
    pub const BAD: Self = Self {
        error_share: 0.2,
        latency: 4.0,
        cpu: 1.8,
        memory: 1.0,
    };
}

/// The services and their hosts; clones share one world.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    env: String,
    /// By service and host name.
    hosts: BTreeMap<(String, String), Host>,
    health: BTreeMap<String, Health>,
    /// Requests per second and host, by service.
    traffic: BTreeMap<String, f64>,
    unix_ms: u64,
    random: Random,
    /// Whether a series was born since [`Fleet::take_new_series`].
    new_series: bool,
}

/// One service on one host.
#[derive(Debug)]
struct Host {
    release_id: String,
    batch: Option<u32>,
    silent: bool,
    process: Counters,
}

/// What the running process has counted since its start.
#[derive(Debug, Default)]
struct Counters {
    started_ms: u64,
    requests: BTreeMap<&'static str, f64>,
    buckets: [f64; BUCKETS.len()],
    seconds: f64,
    cpu_seconds: f64,
    resident_bytes: f64,
}

impl Fleet {
    /// `hosts_per_service` hosts for each `(service, release id)`, named `<service>-01` and so on.
    pub fn new(env: &str, services: &[(&str, &str)], hosts_per_service: usize, seed: u64) -> Self {
        let names = |service: &str| {
            let numbers = 1..=hosts_per_service;
            numbers
                .map(|number| format!("{service}-{number:02}"))
                .collect()
        };
        Self::with_names(env, services, seed, names)
    }

    /// The same hosts for every `(service, release id)`, named `vm-01` and so on.
    pub fn shared(env: &str, services: &[(&str, &str)], hosts: usize, seed: u64) -> Self {
        let names = |_: &str| {
            (1..=hosts)
                .map(|number| format!("vm-{number:02}"))
                .collect()
        };
        Self::with_names(env, services, seed, names)
    }

    fn with_names(
        env: &str,
        services: &[(&str, &str)],
        seed: u64,
        names: impl Fn(&str) -> Vec<String>,
    ) -> Self {
        let mut hosts = BTreeMap::new();
        for (service, release_id) in services {
            for name in names(service) {
                let host = Host {
                    release_id: (*release_id).to_owned(),
                    batch: None,
                    silent: false,
                    process: Counters::default(),
                };
                hosts.insert(((*service).to_owned(), name), host);
            }
        }
        Self(Arc::new(Mutex::new(World {
            env: env.to_owned(),
            hosts,
            health: BTreeMap::new(),
            traffic: BTreeMap::new(),
            unix_ms: 0,
            random: Random(seed),
            new_series: true,
        })))
    }

    /// The hosts of a service, sorted.
    pub fn hosts(&self, service: &str) -> Vec<String> {
        self.releases(service).into_keys().collect()
    }

    /// The release each host of a service runs.
    pub fn releases(&self, service: &str) -> BTreeMap<String, String> {
        let world = self.world();
        let of_service = world.hosts.iter().filter(|((of, _), _)| of == service);
        of_service
            .map(|((_, name), host)| (name.clone(), host.release_id.clone()))
            .collect()
    }

    /// Restarts the release's service (what stands before the `@`) with it on these hosts;
    /// names of hosts where that service does not run are returned, not ignored.
    pub fn set_release(
        &self,
        hosts: &[String],
        release_id: &str,
        batch: Option<u32>,
    ) -> BTreeSet<String> {
        let mut world = self.world();
        let now = world.unix_ms;
        let service = release_id.split('@').next().unwrap_or_default();
        let mut unknown = BTreeSet::new();
        for name in hosts {
            let place = (service.to_owned(), name.clone());
            let Some(host) = world.hosts.get_mut(&place) else {
                unknown.insert(name.clone());
                continue;
            };
            release_id.clone_into(&mut host.release_id);
            host.batch = batch;
            host.process = Counters::started(now);
        }
        world.new_series = true;
        unknown
    }

    /// Restarts the processes of these hosts with what they run.
    pub fn restart(&self, hosts: &[String]) {
        let mut world = self.world();
        let now = world.unix_ms;
        let named = |name: &String| hosts.contains(name);
        for (_, host) in world.hosts.iter_mut().filter(|((_, name), _)| named(name)) {
            host.process = Counters::started(now);
        }
        world.new_series = true;
    }

    /// How a release behaves wherever it runs; [`Health::GOOD`] unless set.
    pub fn set_health(&self, release_id: &str, health: Health) {
        self.world().health.insert(release_id.to_owned(), health);
    }

    /// Requests per second and host of a service; 0 is a service nobody asks.
    pub fn set_traffic(&self, service: &str, requests_per_second: f64) {
        self.world()
            .traffic
            .insert(service.to_owned(), requests_per_second);
    }

    /// Whether these hosts stop telling their metrics.
    pub fn silence(&self, hosts: &[String], silent: bool) {
        let mut world = self.world();
        let named = |name: &String| hosts.contains(name);
        for (_, host) in world.hosts.iter_mut().filter(|((_, name), _)| named(name)) {
            host.silent = silent;
        }
    }

    /// Lets time pass until `unix_ms` and tells every host's metrics as of then, in the text
    /// format with timestamps. The first call only starts the processes.
    pub fn samples_at(&self, unix_ms: u64) -> String {
        let mut world = self.world();
        world.advance(unix_ms);
        world.expose()
    }

    /// Whether series have appeared since this was asked last.
    pub fn take_new_series(&self) -> bool {
        std::mem::take(&mut self.world().new_series)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn advance(&mut self, unix_ms: u64) {
        if self.unix_ms == 0 {
            self.unix_ms = unix_ms;
            for host in self.hosts.values_mut() {
                host.process = Counters::started(unix_ms);
            }
        }
        let passed = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms)).as_secs_f64();
        self.unix_ms = self.unix_ms.max(unix_ms);
        for ((service, _), host) in &mut self.hosts {
            let health = self.health.get(&host.release_id);
            let health = health.copied().unwrap_or(Health::GOOD);
            let traffic = self.traffic.get(service).copied();
            let expected = passed * traffic.unwrap_or(REQUESTS_PER_SECOND);
            self.new_series |= host.process.serve(expected, health, &mut self.random);
        }
    }

    fn expose(&self) -> String {
        let mut text = String::new();
        for ((service, instance), host) in self.hosts.iter().filter(|(_, host)| !host.silent) {
            let mut labels = format!(
                "service=\"{service}\",env=\"{}\",instance=\"{instance}\",release_id=\"{}\"",
                self.env, host.release_id
            );
            if let Some(batch) = host.batch {
                let _infallible = write!(labels, ",batch=\"{batch}\"");
            }
            host.process.expose(&mut text, &labels, self.unix_ms);
        }
        text
    }
}

impl Counters {
    fn started(unix_ms: u64) -> Self {
        Self {
            started_ms: unix_ms,
            requests: BTreeMap::from([("200", 0.0)]),
            resident_bytes: RESIDENT_BYTES,
            ..Self::default()
        }
    }

    /// Serves about `expected` requests; true when a response code was seen for the first time.
    fn serve(&mut self, expected: f64, health: Health, random: &mut Random) -> bool {
        let known = self.requests.len();
        let expected = expected * random.around_one(0.1);
        let total = random.round(expected);
        let failed = random.round(total * health.error_share).min(total);
        let missing = random.round((total - failed) * 0.01).min(total - failed);
        for (code, count) in [
            ("200", total - failed - missing),
            ("404", missing),
            ("500", failed),
        ] {
            if count > 0.0 {
                *self.requests.entry(code).or_default() += count;
            }
        }
        let median = MEDIAN_SECONDS * health.latency * random.around_one(0.05);
        let luck = random.share();
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            let below = 1.0 / (1.0 + (median / bound).powf(SHAPE));
            *bucket += (total * below + luck).floor().min(total);
        }
        self.seconds += total * median * MEAN_PER_MEDIAN;
        self.cpu_seconds += total * CPU_SECONDS * health.cpu * random.around_one(0.05);
        self.resident_bytes = RESIDENT_BYTES * health.memory * random.around_one(0.03);
        self.requests.len() > known
    }

    fn expose(&self, text: &mut String, labels: &str, unix_ms: u64) {
        let mut line = |name: &str, more: &str, value: f64| {
            let _infallible = writeln!(text, "{name}{{{labels}{more}}} {value} {unix_ms}");
        };
        for (code, count) in &self.requests {
            line("http_requests_total", &format!(",code=\"{code}\""), *count);
        }
        let total: f64 = self.requests.values().sum();
        let name = "http_request_duration_seconds";
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            line(
                &format!("{name}_bucket"),
                &format!(",le=\"{bound}\""),
                count,
            );
        }
        line(&format!("{name}_bucket"), ",le=\"+Inf\"", total);
        line(&format!("{name}_count"), "", total);
        line(&format!("{name}_sum"), "", self.seconds);
        line("process_cpu_seconds_total", "", self.cpu_seconds);
        line(
            "process_resident_memory_bytes",
            "",
            self.resident_bytes.round(),
        );
        let started = Duration::from_millis(self.started_ms).as_secs_f64();
        line("process_start_time_seconds", "", started);
    }
}

/// `SplitMix64`: small, seeded, good enough for noise.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Uniform in [0, 1).
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / 4_294_967_296.0
    }

    /// Uniform in `1 - width` to `1 + width`.
    fn around_one(&mut self, width: f64) -> f64 {
        1.0 + width * (2.0 * self.share() - 1.0)
    }

    /// A whole number whose mean is `expected`.
    fn round(&mut self, expected: f64) -> f64 {
        (expected + self.share()).floor()
    }
}
