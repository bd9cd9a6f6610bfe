//! `he-aac AOT SIGNALLING BITRATE IN.wav OUT` encodes a 16-bit WAV with Fraunhofer's encoder.
//!
//! AOT is 2 (AAC-LC), 5 (HE-AAC) or 29 (HE-AAC v2); SIGNALLING 0 (implicit), 1 (backward compatible)
//! or 2 (hierarchical). OUT gets the AudioSpecificConfig and then the packets, each after its length
//! (32 bits, little-endian). The encoder's delay, in PCM samples at the input's rate, and the packet
//! length at that rate are printed.

use std::{env, fs, mem, ptr};

use fdk_aac_sys as sys;

fn check(code: sys::AACENC_ERROR, what: &str) {
    assert!(code == sys::AACENC_ERROR_AACENC_OK, "{what}: error {code:#x}");
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let [_, aot, signalling, bitrate, input, output] = &args[..] else {
        panic!("usage: he-aac AOT SIGNALLING BITRATE IN.wav OUT");
    };
    let wav = fs::read(input).expect("the WAV can be read");
    assert_eq!(&wav[36..40], b"data", "a plain 44-byte WAV header");
    let channels = u32::from(u16::from_le_bytes([wav[22], wav[23]]));
    let rate = u32::from_le_bytes(wav[24..28].try_into().expect("four bytes"));
    let pcm: Vec<i16> = wav[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();

    let mut encoder = ptr::null_mut();
    let mut info = unsafe { mem::zeroed::<sys::AACENC_InfoStruct>() };
    unsafe {
        check(sys::aacEncOpen(&mut encoder, 0, channels), "open");
        for (parameter, value) in [
            (sys::AACENC_PARAM_AACENC_AOT, aot.parse().expect("AOT is a number")),
            (sys::AACENC_PARAM_AACENC_SAMPLERATE, rate),
            (sys::AACENC_PARAM_AACENC_CHANNELMODE, channels),
            (sys::AACENC_PARAM_AACENC_BITRATE, bitrate.parse().expect("BITRATE is a number")),
            (sys::AACENC_PARAM_AACENC_TRANSMUX, 0),
            (sys::AACENC_PARAM_AACENC_SIGNALING_MODE, signalling.parse().expect("SIGNALLING is a number")),
        ] {
            check(sys::aacEncoder_SetParam(encoder, parameter, value), "set a parameter");
        }
        check(sys::aacEncEncode(encoder, ptr::null(), ptr::null(), ptr::null(), ptr::null_mut()), "set up");
        check(sys::aacEncInfo(encoder, &mut info), "info");
    }

    let mut out = Vec::new();
    let mut put = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    put(&info.confBuf[..info.confSize as usize]);
    let step = (info.frameLength * channels) as usize;
    let silence = vec![0_i16; step];
    let flush = (info.nDelay.div_ceil(info.frameLength)) as usize;
    let mut blocks: Vec<Vec<i16>> = pcm.chunks(step).map(<[i16]>::to_vec).collect();
    if let Some(last) = blocks.last_mut() {
        last.resize(step, 0);
    }
    blocks.extend(std::iter::repeat_n(silence, flush));
    for block in blocks {
        let packet = encode(encoder, &block);
        if !packet.is_empty() {
            put(&packet);
        }
    }
    fs::write(output, out).expect("the output can be written");
    println!("{} {}", info.nDelay, info.frameLength);
}

/// Encodes one packet's worth of PCM samples.
fn encode(encoder: sys::HANDLE_AACENCODER, block: &[i16]) -> Vec<u8> {
    let mut packet = vec![0_u8; 16384];
    let mut input = block.as_ptr().cast_mut().cast();
    let mut output = packet.as_mut_ptr().cast();
    let (mut in_id, mut out_id) = (
        sys::AACENC_BufferIdentifier_IN_AUDIO_DATA as i32,
        sys::AACENC_BufferIdentifier_OUT_BITSTREAM_DATA as i32,
    );
    let (mut in_size, mut out_size) = (size_of_val(block) as i32, packet.len() as i32);
    let (mut in_element, mut out_element) = (2, 1);
    let in_buffer = sys::AACENC_BufDesc {
        numBufs: 1,
        bufs: &mut input,
        bufferIdentifiers: &mut in_id,
        bufSizes: &mut in_size,
        bufElSizes: &mut in_element,
    };
    let out_buffer = sys::AACENC_BufDesc {
        numBufs: 1,
        bufs: &mut output,
        bufferIdentifiers: &mut out_id,
        bufSizes: &mut out_size,
        bufElSizes: &mut out_element,
    };
    let in_args = sys::AACENC_InArgs { numInSamples: block.len() as i32, numAncBytes: 0 };
    unsafe {
        let mut out_args = mem::zeroed::<sys::AACENC_OutArgs>();
        check(sys::aacEncEncode(encoder, &in_buffer, &out_buffer, &in_args, &mut out_args), "encode");
        packet.truncate(out_args.numOutBytes as usize);
    }
    packet
}
