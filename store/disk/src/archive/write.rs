//! Writes an archive, block by block.

use std::io::{self, BufWriter, Write};

use bytes::Bytes;
use prost::Message as _;

use super::format::{BLOCK_BYTES, Block, MAGIC, VERSION, checksum};

/// Writes one archive into `to`. Nothing is an archive before [`ArchiveWriter::finish`].
pub(crate) struct ArchiveWriter<W: Write> {
    to: BufWriter<W>,
    hasher: blake3::Hasher,
    block: Vec<u8>,
    kind: Block,
    rows: u64,
    past: u64,
}

impl<W: Write> ArchiveWriter<W> {
    pub(crate) fn begin(to: W, meta: &Bytes) -> io::Result<Self> {
        let mut to = BufWriter::with_capacity(4 * BLOCK_BYTES, to);
        to.write_all(&MAGIC)?;
        to.write_all(&VERSION.to_be_bytes())?;
        let mut writer = Self {
            to,
            hasher: blake3::Hasher::new(),
            block: Vec::with_capacity(2 * BLOCK_BYTES),
            kind: Block::Meta,
            rows: 0,
            past: 0,
        };
        writer.block.extend_from_slice(meta);
        writer.end_block()?;
        Ok(writer)
    }

    pub(crate) fn row(&mut self, row: &holdfast_proto::log::v1::StateRow) -> io::Result<()> {
        self.rows += 1;
        self.add(Block::Rows, &row.encode_to_vec())
    }

    /// A row of the past, as `PastRow::encode` gives it.
    pub(crate) fn past(&mut self, row: &[u8]) -> io::Result<()> {
        self.past += 1;
        self.add(Block::Past, row)
    }

    /// Writes the end mark and hands the target back, flushed but not synced.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        self.kind = Block::End;
        self.block.extend_from_slice(&self.rows.to_be_bytes());
        self.block.extend_from_slice(&self.past.to_be_bytes());
        let digest = self.hasher.finalize();
        self.block.extend_from_slice(digest.as_bytes());
        self.end_block()?;
        self.to.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn add(&mut self, kind: Block, item: &[u8]) -> io::Result<()> {
        let full = self.block.len() + item.len() > BLOCK_BYTES;
        if !self.block.is_empty() && (self.kind != kind || full) {
            self.end_block()?;
        }
        self.kind = kind;
        let length = u32::try_from(item.len()).map_err(io::Error::other)?;
        self.block.extend_from_slice(&length.to_be_bytes());
        self.block.extend_from_slice(item);
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let kind = self.kind as u8;
        let length = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        let check = checksum(kind, length, &self.block);
        self.to.write_all(&[kind])?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&check.to_be_bytes())?;
        self.to.write_all(&self.block)?;
        self.hasher.update(&[kind]);
        self.hasher.update(&self.block);
        self.block.clear();
        Ok(())
    }
}
