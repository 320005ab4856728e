//! The policies in images.

use std::io::{self, Write};

use hathi_formats::fsimage::{Image, ImageError, ImageWriter, ReadAt, SectionName};
use hathi_formats::proto::fsimage as pb;

use super::ErasureCoding;
use super::policy::Policy;

impl ErasureCoding {
    pub(crate) fn save<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        w.begin(SectionName::ErasureCoding);
        let policies = self.policies.values();
        w.message(&pb::ErasureCodingSection {
            policies: policies.map(|policy| policy.to_wire_with(policy.state)).collect(),
        })?;
        w.end();
        Ok(())
    }

    pub(crate) fn load<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> Result<ErasureCoding, ImageError> {
        let mut loaded = ErasureCoding::default();
        if let Some(section) = image.section(SectionName::ErasureCoding)
            && let Some(message) = image.messages(section).next_message::<pb::ErasureCodingSection>()?
        {
            let offset = section.offset;
            for policy in &message.policies {
                let policy = Policy::from_image(policy).and_then(|policy| loaded.place(policy));
                policy.map_err(|problem| ImageError::Malformed {
                    offset,
                    problem: format!("section ERASURE_CODING: {problem}"),
                })?;
            }
        }
        Ok(loaded)
    }

    fn place(&mut self, policy: Policy) -> Result<(), String> {
        match self.named(&policy.name) {
            Some(other) if other.id != policy.id => Err(format!("two policies have the name {}", policy.name)),
            _ => {
                self.policies.insert(policy.id, policy);
                Ok(())
            }
        }
    }
}
