//! stub
use sociable_protocol::NodeTag;
#[derive(Debug, Clone)]
pub struct Reports;
impl Reports {
    pub fn connect_failed(&self, _: NodeTag) {}
    pub fn refused(&self, _: NodeTag) {}
}
