//! stub
use std::net::IpAddr;
use std::time::{Duration, Instant};
#[derive(Debug)]
pub struct Buckets;
impl Buckets {
    pub fn new(_: f64, _: f64, _: usize) -> Self {
        Self
    }
    pub fn take(&self, _: IpAddr, _: Instant) -> Result<(), Duration> {
        Ok(())
    }
}
#[derive(Debug)]
pub struct Bucket;
impl Bucket {
    pub fn new(_: f64, _: f64) -> Self {
        Self
    }
    pub fn take(&self, _: Instant) -> Result<(), Duration> {
        Ok(())
    }
}
