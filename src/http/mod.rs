//! The only builder of outbound HTTP clients, and how their failures read.
