//! How messages become bytes: as with `tonic_prost::ProstCodec`, in buffers that fit.
//!
//! Each end of a call has a buffer for what it sends and one for what it receives, and what was received
//! keeps its buffer as long as a key or a value of it is in use. tonic's have 8 KiB each, and few of our
//! messages have one. That costs less the memory than the waiting for it: so many buffers push each other,
//! and everything else, out of the processor's caches.

use std::{fmt, marker::PhantomData};

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, EncodeBuf},
};
use tonic_prost::ProstDecoder;

/// A buffer's size before it is known how long the message is, bytes. Most have room in it.
const BUFFER_BYTES: usize = 1024;
/// Messages of a stream that wait for each other are handed on together once they have so many bytes.
const TOGETHER_BYTES: usize = 32 * 1024;

/// `application/grpc+proto`, for messages that are sent and messages that are received.
pub struct Codec<Sent, Received>(PhantomData<(Sent, Received)>);

/// Encodes messages.
pub struct Encoder<Sent>(PhantomData<Sent>);

impl<Sent, Received> Default for Codec<Sent, Received> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Sent, Received> fmt::Debug for Codec<Sent, Received> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}

impl<Sent> fmt::Debug for Encoder<Sent> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encoder")
    }
}

impl<Sent, Received> tonic::codec::Codec for Codec<Sent, Received>
where
    Sent: Message + 'static,
    Received: Message + Default + 'static,
{
    type Encode = Sent;
    type Decode = Received;
    type Encoder = Encoder<Sent>;
    type Decoder = ProstDecoder<Received>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

impl<Sent: Message> tonic::codec::Encoder for Encoder<Sent> {
    type Item = Sent;
    type Error = Status;

    fn encode(&mut self, message: Sent, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // A long one makes room once.
        buffer.reserve(message.encoded_len());
        let encoded = message.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic::codec::{Codec as _, EncodeBody, Streaming};

    use super::*;
    use crate::v1::Entry;

    /// Below, at and above what a buffer has room for.
    #[tokio::test]
    async fn messages_of_all_lengths_come_back() {
        let around = BUFFER_BYTES - 16..BUFFER_BYTES + 16;
        let lengths = around.chain([0, 1, 5 * TOGETHER_BYTES]);
        let entry = |length| Entry {
            key: Bytes::from(vec![b'k'; length]),
            ..Entry::default()
        };
        let sent: Vec<_> = lengths.map(entry).collect();
        let mut codec = Codec::<Entry, Entry>::default();
        let source = futures::stream::iter(sent.clone().into_iter().map(Ok));
        let body = EncodeBody::new_client(codec.encoder(), source, None, None);
        let mut received = Streaming::new_request(codec.decoder(), body, None, None);
        for message in sent {
            assert_eq!(received.message().await.unwrap(), Some(message));
        }
        assert_eq!(received.message().await.unwrap(), None);
    }

    /// What is received may live long: in the state, for instance.
    #[tokio::test]
    async fn a_short_message_does_not_keep_much_memory() {
        let mut codec = Codec::<Entry, Entry>::default();
        let sent = Entry {
            key: Bytes::from_static(b"key"),
            ..Entry::default()
        };
        let source = futures::stream::iter([Ok(sent)]);
        let body = EncodeBody::new_client(codec.encoder(), source, None, None);
        let mut received = Streaming::new_request(codec.decoder(), body, None, None);
        let key = received.message().await.unwrap().unwrap().key;
        drop(received);
        let kept = key.try_into_mut().unwrap().capacity();
        assert!(kept <= 1024, "{kept} bytes");
    }
}
