//! Reads an archive, checking every block before anything of it is handed out.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes};
use holdfast_proto::log::v1::StateRow;
use prost::Message as _;

use super::{
    ArchiveError,
    format::{Block, HEAD_BYTES, MAGIC, MOST_BYTES, VERSION, checksum},
};
use crate::past::PastRow;

/// What an archive holds, in this order.
pub(crate) enum Item {
    /// A row of the state.
    Row(StateRow),
    /// A value of the past.
    Past(PastRow),
}

/// Reads one archive. The end was seen only once [`ArchiveReader::next`] gave `None`.
pub(crate) struct ArchiveReader {
    path: PathBuf,
    from: Box<dyn Read + Send>,
    hasher: blake3::Hasher,
    meta: Bytes,
    kind: Block,
    block: Bytes,
    rows: u64,
    past: u64,
    ended: bool,
}

impl ArchiveReader {
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path).map_err(|error| ArchiveError::io(path, "opened", error))?;
        Self::read(path, BufReader::with_capacity(256 * 1024, file))
    }

    /// Reads one that is part of something else; `path` is what errors name.
    pub(crate) fn read(
        path: &Path,
        from: impl Read + Send + 'static,
    ) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            path: path.to_owned(),
            from: Box::new(from),
            hasher: blake3::Hasher::new(),
            meta: Bytes::new(),
            kind: Block::Meta,
            block: Bytes::new(),
            rows: 0,
            past: 0,
            ended: false,
        };
        reader.head()?;
        reader.next_block()?;
        if reader.kind != Block::Meta {
            return Err(reader.damaged("it does not begin with its description"));
        }
        reader.meta = std::mem::take(&mut reader.block);
        Ok(reader)
    }

    /// What consensus wrote about it.
    pub(crate) fn meta(&self) -> Bytes {
        self.meta.clone()
    }

    /// The next item; `None` at the verified end.
    pub(crate) fn next(&mut self) -> Result<Option<Item>, ArchiveError> {
        while self.block.is_empty() {
            if self.ended {
                return Ok(None);
            }
            self.next_block()?;
            match self.kind {
                Block::Meta => return Err(self.damaged("it has two descriptions")),
                Block::Rows | Block::Past => {}
                Block::End => self.end()?,
            }
        }
        if self.block.len() < 4 {
            return Err(self.damaged("a row is cut off"));
        }
        let length = self.block.get_u32() as usize;
        if self.block.len() < length {
            return Err(self.damaged("a row is cut off"));
        }
        let item = self.block.split_to(length);
        if self.kind == Block::Rows {
            self.rows += 1;
            let row = StateRow::decode(item);
            return row
                .map(|row| Some(Item::Row(row)))
                .map_err(|error| self.damaged(error.to_string()));
        }
        self.past += 1;
        match PastRow::decode(item) {
            Some(row) => Ok(Some(Item::Past(row))),
            None => Err(self.damaged("an older value cannot be read")),
        }
    }

    fn head(&mut self) -> Result<(), ArchiveError> {
        let mut head = [0; MAGIC.len() + 4];
        self.fill(&mut head)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(self.damaged("it is not an archive of Holdfast"));
        }
        let found = version
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        if found > VERSION {
            let path = self.path.clone();
            return Err(ArchiveError::Newer {
                path,
                found,
                supported: VERSION,
            });
        }
        Ok(())
    }

    fn next_block(&mut self) -> Result<(), ArchiveError> {
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head)?;
        let mut rest = &head[..];
        let (kind, length, check) = (rest.get_u8(), rest.get_u32(), rest.get_u32());
        if length as usize > MOST_BYTES {
            return Err(self.damaged("a block is too long"));
        }
        let mut body = vec![0; length as usize];
        self.fill(&mut body)?;
        if checksum(kind, length, &body) != check {
            return Err(self.damaged("a checksum does not hold"));
        }
        self.kind =
            Block::from_byte(kind).ok_or_else(|| self.damaged("a block is of no known kind"))?;
        if self.kind != Block::End {
            self.hasher.update(&[kind]);
            self.hasher.update(&body);
        }
        self.block = body.into();
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut mark = std::mem::take(&mut self.block);
        let whole = mark.len() == 48
            && mark.get_u64() == self.rows
            && mark.get_u64() == self.past
            && mark[..] == self.hasher.finalize().as_bytes()[..];
        if !whole {
            return Err(self.damaged("its end mark does not match what is before it"));
        }
        self.ended = true;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        self.from
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
                _ => ArchiveError::io(&self.path, "read", error),
            })
    }

    fn damaged(&self, why: impl Into<String>) -> ArchiveError {
        ArchiveError::damaged(&self.path, why)
    }
}
