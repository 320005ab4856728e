//! Features that this NameNode does not have. Reads answer as Hadoop's NameNode does when nobody uses the feature.
//! Changes are refused, with Hadoop's exception for a feature that is switched off where there is one.

use super::border::{Answer, Outcome};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::proto::hdfs::{GetDataEncryptionKeyRequestProto, GetDataEncryptionKeyResponseProto};

/// `getDataEncryptionKey`: absent, data transfer is not encrypted.
pub fn get_data_encryption_key(
    _: &Namesystem,
    _: &CallContext,
    _: GetDataEncryptionKeyRequestProto,
) -> Outcome<GetDataEncryptionKeyResponseProto> {
    Ok(Answer::new(GetDataEncryptionKeyResponseProto::default(), None))
}
