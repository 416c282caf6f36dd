//! The whole service as a user meets it: the real app or the real binary, with everything around it.

mod approvals;
mod crowd;
mod explain;
mod guards;
mod imports;
mod latency;
mod manual;
mod metrics_gone;
mod neighbours;
mod outages;
mod process;
mod refusals;
mod replicas;
mod reports;
mod rollback;
mod s3;
mod tasks;
