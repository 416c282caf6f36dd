//! Rules, guards, and why: a pure function from what is known to a decision.
