use pb_core::reactor::{Protocol, Transport, Written};

/// Sends back what it gets. From who does not read it reads no more, so nobody makes it keep much.
#[derive(Default)]
pub struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if transport.write(data) == Written::Full {
            transport.pause();
        }
    }

    fn resume_producing(&mut self, transport: &Transport) {
        transport.resume();
    }
}
