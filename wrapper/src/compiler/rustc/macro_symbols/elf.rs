//! Sections and symbols of an ELF file, as far as they lie in it.
//!
//! Enters: the bytes of a library, a program or an object (64 bit, little endian). Leaves: slices
//! of them; `None` where they are not understood. Must never happen here: more kept than the file
//! holds, however many headers mean the same bytes.
//!
//! Formats: the System V ABI, chapters 4 and 5 (section headers, symbol table, relocations).

pub(super) const SYMBOLS: u32 = 2;
pub(super) const RELOCATIONS: u32 = 4;
pub(super) const DYNAMIC: u32 = 6;
/// A section that takes no room in the file.
const NO_BITS: u32 = 8;
pub(super) const DYNAMIC_SYMBOLS: u32 = 11;

pub(super) const ALLOCATED: u64 = 2;
pub(super) const CODE: u64 = 4;

/// The longest name, bytes: mangled names of thousands are met.
const NAME_MAX: usize = 1 << 20;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const RELOCATION: usize = 24;
const FUNCTION: u8 = 2;

/// A file's sections.
pub(super) struct Elf<'p> {
    /// A shared library is 3, as is a program that runs anywhere; an object is 1.
    pub kind: u16,
    pub machine: u16,
    pub sections: Vec<Section<'p>>,
    names: usize,
}

/// A section, and its bytes: none where it takes no room.
pub(super) struct Section<'p> {
    name: u32,
    pub kind: u32,
    pub flags: u64,
    pub address: u64,
    pub bytes: &'p [u8],
    /// In memory, bytes.
    size: u64,
    link: usize,
    /// Of relocations: the section that they change.
    pub info: usize,
}

pub(super) struct Symbol<'p> {
    pub name: &'p [u8],
    pub function: bool,
    /// The section that it lies in; 0 where it is defined elsewhere.
    pub section: u16,
    pub value: u64,
    pub size: u64,
}

pub(super) struct Relocation {
    pub place: u64,
    pub kind: u64,
    pub symbol: u64,
    pub addend: u64,
}

impl Section<'_> {
    /// The address behind it.
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

impl<'p> Elf<'p> {
    pub fn of(file: &'p [u8]) -> Option<Self> {
        // Magic, 64 bit, little endian.
        if file.get(..6)? != b"\x7fELF\x02\x01" || u16_at(file, 58)? != SECTION_HEADER as u16 {
            return None;
        }
        let table = usize::try_from(u64_at(file, 40)?).ok()?;
        let size = usize::from(u16_at(file, 60)?) * SECTION_HEADER;
        let headers = file.get(table..table.checked_add(size)?)?;
        let mut sections = Vec::with_capacity(size / SECTION_HEADER);
        let mut told = 0_usize;
        for header in headers.chunks_exact(SECTION_HEADER) {
            let here = section(file, header)?;
            // Sections lie side by side: where together they are larger than the file, headers
            // mean the same bytes, which would be kept once for each.
            told = told.saturating_add(here.bytes.len());
            if told > file.len() {
                return None;
            }
            sections.push(here);
        }
        Some(Self {
            kind: u16_at(file, 16)?,
            machine: u16_at(file, 18)?,
            sections,
            names: usize::from(u16_at(file, 62)?),
        })
    }

    pub fn name(&self, section: &Section<'p>) -> Option<&'p [u8]> {
        name_at(self.sections.get(self.names)?.bytes, section.name.into())
    }

    /// The bytes of the section that another goes with: the names of symbols.
    pub fn linked(&self, section: &Section<'p>) -> Option<&'p [u8]> {
        Some(self.sections.get(section.link)?.bytes)
    }

    /// The symbols of a table; one is `None` where it is not understood.
    pub fn symbols<'e>(
        &'e self,
        table: &Section<'p>,
    ) -> impl Iterator<Item = Option<Symbol<'p>>> + use<'e, 'p> {
        let names = self.linked(table);
        table.bytes.chunks_exact(SYMBOL).map(move |symbol| {
            Some(Symbol {
                name: name_at(names?, u32_at(symbol, 0)?.into())?,
                function: symbol.get(4)? & 15 == FUNCTION,
                section: u16_at(symbol, 6)?,
                value: u64_at(symbol, 8)?,
                size: u64_at(symbol, 16)?,
            })
        })
    }
}

/// What a table of relocations holds.
pub(super) fn relocations<'p>(
    table: &Section<'p>,
) -> impl Iterator<Item = Option<Relocation>> + use<'p> {
    table.bytes.chunks_exact(RELOCATION).map(|entry| {
        let info = u64_at(entry, 8)?;
        Some(Relocation {
            place: u64_at(entry, 0)?,
            kind: info & u64::from(u32::MAX),
            symbol: info >> 32,
            addend: u64_at(entry, 16)?,
        })
    })
}

fn section<'p>(file: &'p [u8], header: &[u8]) -> Option<Section<'p>> {
    let number = |at| usize::try_from(u64_at(header, at)?).ok();
    let kind = u32_at(header, 4)?;
    let bytes = if kind == NO_BITS {
        &[]
    } else {
        let offset = number(24)?;
        file.get(offset..offset.checked_add(number(32)?)?)?
    };
    Some(Section {
        name: u32_at(header, 0)?,
        kind,
        flags: u64_at(header, 8)?,
        address: u64_at(header, 16)?,
        bytes,
        size: u64_at(header, 32)?,
        link: usize::try_from(u32_at(header, 40)?).ok()?,
        info: usize::try_from(u32_at(header, 44)?).ok()?,
    })
}

/// A string of a table, up to its null; the version that follows an `@` stands elsewhere.
pub(super) fn name_at(names: &[u8], at: u64) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..rest.len().min(NAME_MAX))?;
    rest.get(..memchr::memchr(0, rest)?)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}
