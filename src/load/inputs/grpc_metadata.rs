//! A model's metadata over gRPC, for servers that speak nothing else.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::metadata::InputMeta;
use crate::inference::tensor::Dtype;
use crate::inference::v2_grpc::about::{ModelAndVersion, ModelMetadata};
use crate::load::spec::RequestSpec;

/// The call that asks for the metadata of a kind's model: its body and its path.
pub fn metadata_request(spec: &RequestSpec) -> (Bytes, &'static str) {
    let name = spec.model.clone().unwrap_or_default();
    let message = ModelAndVersion { name, version: spec.version.clone().unwrap_or_default() }.encode_to_vec();
    let mut body = BytesMut::with_capacity(message.len() + 5);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(0));
    body.put_slice(&message);
    (body.freeze(), "/inference.GRPCInferenceService/ModelMetadata")
}

/// The inputs that a `ModelMetadataResponse` in its frame names.
///
/// # Errors
/// One line: what is wrong with it.
pub fn metadata_answer(body: &[u8]) -> Result<Vec<InputMeta>, String> {
    let garbled = || "the metadata is no ModelMetadataResponse".to_owned();
    let (frame, message) = body.split_first_chunk::<5>().ok_or_else(garbled)?;
    if frame.first() != Some(&0) {
        return Err("the metadata is compressed, which was not asked for".to_owned());
    }
    let answer = ModelMetadata::decode(message).map_err(|_| garbled())?;
    let inputs = answer.inputs.into_iter().map(|input| {
        let dtype = Dtype::from_name(&input.datatype)
            .ok_or_else(|| format!("input {:?} has the unknown type {:?}", input.name, input.datatype))?;
        Ok(InputMeta { name: input.name, dtype, shape: input.shape })
    });
    let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
    match inputs.is_empty() {
        true => Err("the metadata names no inputs: give a file of inputs".to_owned()),
        false => Ok(inputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::v2_grpc::about::TensorMetadata;

    #[test]
    fn inputs_are_read_and_what_is_cut_off_is_no_metadata() {
        let input = TensorMetadata { name: "x".into(), datatype: "FP32".into(), shape: vec![-1, 4] };
        let message = ModelMetadata { inputs: vec![input], ..ModelMetadata::default() }.encode_to_vec();
        let body = [&[0, 0, 0, 0, message.len() as u8], &message[..]].concat();
        let meta = InputMeta { name: "x".into(), dtype: Dtype::Fp32, shape: vec![-1, 4] };
        assert_eq!(metadata_answer(&body).unwrap(), [meta]);
        for cut in 0..body.len() {
            assert!(metadata_answer(&body[..cut]).is_err(), "{cut}");
        }
    }
}
