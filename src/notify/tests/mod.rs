mod delivery;
mod lies;
mod storm;
mod world;
