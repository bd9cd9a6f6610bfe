//! The fixes: what of the library's text is replaced by what, each told by the fault that it mends.
//!
//! The text belongs to the library and is under its licence (`LICENSE-FDK-AAC`), which asks that changes be stated: this
//! is the statement.
//!
//! `tests/packets` has a stream of packets for each fault of which one was found; `scripts/fuzz fdk-faults` puts such faults
//! back and shows them to the sanitizers. Where there is none, the comment says why.

/// A fault of the library, and what mends it.
pub struct Fault {
    /// A name for scripts.
    pub name: &'static str,
    pub edits: &'static [Edit],
}

/// A piece of text and what takes its place.
pub struct Edit {
    /// Under the folder `aac` of the package.
    pub file: &'static str,
    pub from: &'static str,
    /// How often it is there.
    pub times: usize,
    pub to: &'static str,
}

const fn fault(name: &'static str, edits: &'static [Edit]) -> Fault {
    Fault { name, edits }
}

const fn edit(file: &'static str, from: &'static str, to: &'static str) -> Edit {
    Edit {
        file,
        from,
        times: 1,
        to,
    }
}

/// All of them.
pub const FAULTS: &[Fault] = &[
    // ConcealPitchLag: a pitch lag above 255 was cut to eight bits. What was left between 14.5 and 15.6 kHz, 0 to 12, made
    // Pred_lt4 read behind its buffer on the stack.
    fault(
        "pitch-lag",
        &[edit(
            "libAACdec/src/usacdec_acelp.cpp",
            "*pold_T0 = (UCHAR)(PIT_MAX - 5);",
            "*pold_T0 = (USHORT)(PIT_MAX - 5);",
        )],
    ),
    // resetLppTransposer: one patch more than there is room for is written before it is refused.
    fault(
        "patches",
        &[edit(
            "libSBRdec/src/lpp_tran.h",
            "patchParam[MAX_NUM_PATCHES];",
            "patchParam[MAX_NUM_PATCHES + 1];",
        )],
    ),
    // rvlcDecodeBackward: more escapes were taken than had been decoded, from before the first.
    fault(
        "escapes",
        &[
            edit(
                "libAACdec/src/rvlc.cpp",
                "UCHAR *pEscEscCnt = &(pRvlc->numDecodedEscapeWordsEsc);",
                "const UCHAR escEscCnt = pRvlc->numDecodedEscapeWordsEsc;",
            ),
            edit(
                "libAACdec/src/rvlc.cpp",
                "pScfEsc += *pEscEscCnt - 1;",
                "pScfEsc += escEscCnt - 1;",
            ),
            edit(
                "libAACdec/src/rvlc.cpp",
                "if (pRvlc->length_of_rvlc_escapes) {\n        pRvlc->conceal_min = bnds;",
                "if (pRvlc->length_of_rvlc_escapes || *pEscBwdCnt >= escEscCnt) {\n        pRvlc->conceal_min = bnds;",
            ),
            edit(
                "libAACdec/src/rvlc.cpp",
                "if (pRvlc->length_of_rvlc_escapes) {\n              pScfBwd[bnds] = position;",
                "if (pRvlc->length_of_rvlc_escapes || *pEscBwdCnt >= escEscCnt) {\n              pScfBwd[bnds] = position;",
            ),
            edit(
                "libAACdec/src/rvlc.cpp",
                "if (pRvlc->length_of_rvlc_escapes) {\n                pScfBwd[bnds] = noisenrg;",
                "if (pRvlc->length_of_rvlc_escapes || *pEscBwdCnt >= escEscCnt) {\n                pScfBwd[bnds] = noisenrg;",
            ),
            edit(
                "libAACdec/src/rvlc.cpp",
                "if (pRvlc->length_of_rvlc_escapes) {\n              pScfBwd[bnds] = factor;",
                "if (pRvlc->length_of_rvlc_escapes || *pEscBwdCnt >= escEscCnt) {\n              pScfBwd[bnds] = factor;",
            ),
        ],
    ),
    // resetFreqBandTables: numbers of bands were kept although they had been found too large. No packet is known that
    // uses them before another header replaces them.
    fault(
        "bands",
        &[
            edit(
                "libSBRdec/src/sbrdec_freq_sca.cpp",
                "  hFreq->nSfb[0] = nBandsLo;\n  hFreq->nSfb[1] = nBandsHi;\n",
                "",
            ),
            edit(
                "libSBRdec/src/sbrdec_freq_sca.cpp",
                "  lsb = hFreq->freqBandTable[0][0];\n  usb = hFreq->freqBandTable[0][nBandsLo];\n",
                "  hFreq->nSfb[0] = nBandsLo;\n  hFreq->nSfb[1] = nBandsHi;\n\n  \
                 lsb = hFreq->freqBandTable[0][0];\n  usb = hFreq->freqBandTable[0][nBandsLo];\n",
            ),
            edit(
                "libSBRdec/src/sbrdec_freq_sca.cpp",
                "    if (intTemp == 0) intTemp = 1;\n",
                "    if (intTemp == 0) intTemp = 1;\n    if (intTemp > MAX_NOISE_COEFFS) return SBRDEC_UNSUPPORTED_CONFIG;\n",
            ),
        ],
    ),
    // apply_inter_tes: shifts by more bits than a number has. Undefined, but no access to memory; no packet is known.
    fault(
        "shifts",
        &[
            Edit {
                file: "libSBRdec/src/env_calc.cpp",
                from: "gain[i] >>= -gain_sf[i];",
                times: 2,
                to: "gain[i] >>= fMin(DFRACT_BITS - 1, -gain_sf[i]);",
            },
            edit(
                "libSBRdec/src/env_calc.cpp",
                "gain[i] >>= INTER_TES_SF_CHANGE - gain_sf[i];",
                "gain[i] >>= fMin(DFRACT_BITS - 1, INTER_TES_SF_CHANGE - gain_sf[i]);",
            ),
        ],
    ),
    // A decoder whose header was never read was taken for one that had been set up. No packet is known.
    fault(
        "sbr-header",
        &[
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "          hSbrHeader->syncState = UPSAMPLING;\n          hSbrHeader->status |= SBRDEC_HDR_STAT_UPDATE;",
                "          if (hSbrHeader->syncState != SBR_NOT_INITIALIZED) {\n            \
                 hSbrHeader->syncState = UPSAMPLING;\n            hSbrHeader->status |= SBRDEC_HDR_STAT_UPDATE;\n          }",
            ),
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "        hSbrHeader->syncState = UPSAMPLING;\n        fDoDecodeSbrData = 0;",
                "        if (hSbrHeader->syncState > UPSAMPLING) hSbrHeader->syncState = UPSAMPLING;\n        \
                 fDoDecodeSbrData = 0;",
            ),
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "        self->sbrHeader[elementIndex][hdrIdx].syncState = UPSAMPLING;\n      }\n    } else {",
                "        if (self->sbrHeader[elementIndex][hdrIdx].syncState > UPSAMPLING) {\n          \
                 self->sbrHeader[elementIndex][hdrIdx].syncState = UPSAMPLING;\n        }\n      }\n    } else {",
            ),
        ],
    ),
    // sbrDecoder_InitElement: one SBR channel more than the filterbank has was set up, and
    // sbrDecoder_AssignQmfChannels2SbrChannels wrote behind its table. No packet is known.
    fault(
        "sbr-channels",
        &[
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "    /* Save element ID for sanity checks and to have a fallback for concealment.\n     */\n    \
                 self->pSbrElement[elementIndex]->elementID = elementID;\n\n    \
                 /* Determine amount",
                "    /* Determine amount",
            ),
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "    if (elChannels < self->pSbrElement[elementIndex]->nChannels) {",
                "    if (elChannels < self->pSbrElement[elementIndex]->nChannels ||\n        \
                 (self->numSbrChannels + elChannels) > (8) + (1)) {",
            ),
            edit(
                "libSBRdec/src/sbrdecoder.cpp",
                "    self->pSbrElement[elementIndex]->nChannels = elChannels;\n",
                "    self->pSbrElement[elementIndex]->elementID = elementID;\n    \
                 self->pSbrElement[elementIndex]->nChannels = elChannels;\n",
            ),
        ],
    ),
    // UsacConfig_Parse and AudioSpecificConfig_Parse: a configuration too long to be kept was not refused. Not reached by
    // us: the length that is kept too large is read where history is cleared (AACDEC_CLRHIST), which we never ask for, and
    // compared with that of a pre-roll's configuration, which is never so long.
    fault(
        "config-length",
        &[
            edit(
                "libMpegTPDec/src/tpdec_asc.cpp",
                "  StoreConfigAsBitstream(hBs, configSize_bits,\n                         \
                 asc->m_sc.m_usacConfig.UsacConfig,\n                         TP_USAC_MAX_CONFIG_LEN);",
                "  if (StoreConfigAsBitstream(hBs, configSize_bits,\n                         \
                 asc->m_sc.m_usacConfig.UsacConfig,\n                         TP_USAC_MAX_CONFIG_LEN)) {\n    \
                 return TRANSPORTDEC_PARSE_ERROR;\n  }",
            ),
            edit(
                "libMpegTPDec/src/tpdec_asc.cpp",
                "    StoreConfigAsBitstream(bs, configSize_bits, self->config,\n                           \
                 TP_USAC_MAX_CONFIG_LEN);",
                "    if (StoreConfigAsBitstream(bs, configSize_bits, self->config,\n                           \
                 TP_USAC_MAX_CONFIG_LEN)) {\n      return TRANSPORTDEC_PARSE_ERROR;\n    }",
            ),
        ],
    ),
    // transportDec_OutOfBandConfig: a configuration refused at the first look was accepted at the second. No configuration
    // is known that does so.
    fault(
        "config-refused",
        &[edit(
            "libMpegTPDec/src/tpdec_lib.cpp",
            "                                        &hTp->asc[layer]);\n        if (errC != 0) {\n          \
                 err = TRANSPORTDEC_PARSE_ERROR;\n        }\n      }\n    }\n  }\n\n  \
                 if (err == TRANSPORTDEC_OK && fConfigFound) {\n    hTp->flags |= TPDEC_CONFIG_FOUND;\n  }\n\n  \
                 return err;\n}\n\nTRANSPORTDEC_ERROR transportDec_InBandConfig(",
            "                                        &hTp->asc[layer]);\n        if (errC != 0) {\n          \
                 err = TRANSPORTDEC_PARSE_ERROR;\n        }\n      }\n    }\n    if (err != TRANSPORTDEC_OK) break;\n  }\n\n  \
                 if (err == TRANSPORTDEC_OK && fConfigFound) {\n    hTp->flags |= TPDEC_CONFIG_FOUND;\n  }\n\n  \
                 return err;\n}\n\nTRANSPORTDEC_ERROR transportDec_InBandConfig(",
        )],
    ),
    // CAacDecoder_DecodeFrame: a packet with bytes behind its end was refused. Programs that copy a broadcast into MP4
    // leave padding there, and no standard forbids it.
    fault(
        "trailing-bytes",
        &[edit(
            "libAACdec/src/aacdecoder.cpp",
            "(unreadBits != 0)",
            "((unreadBits < 0) || ((unreadBits > 0) && self->prerollAULength[self->accessUnit]))",
        )],
    ),
];
