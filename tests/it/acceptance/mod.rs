//! The whole service as a user meets it: the real app or the real binary, with everything around it.

mod crowd;
mod imports;
mod manual;
mod outages;
mod process;
mod refusals;
mod replicas;
mod rollback;
mod s3;
