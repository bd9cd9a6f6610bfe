//! A job on its way through the services: how it is asked for, submitted, announced and sent on.

pub mod adoption;
pub mod inbox;
pub mod intake;
pub mod message;
pub mod options;
pub mod outbox;
pub mod peaks;
pub mod product;
