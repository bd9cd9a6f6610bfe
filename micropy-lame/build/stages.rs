//! The stages of LAME that kernels in Rust replace, and how each is put into LAME's source.
//!
//! The build with kernels compiles a copy of LAME's source in `OUT_DIR`. A stage replaces whole functions, which keep
//! living in their file under another name, or edits LAME's text where no function can be replaced. Text that is not as
//! expected ends the build.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One stage of the encoder.
pub struct Stage {
    /// As users read it.
    pub name: &'static str,
    /// The file in `glue/` that takes fields out of LAME's structs and calls Rust, unless the edits do.
    pub glue: Option<&'static str>,
    /// Functions the glue defines in place of LAME's: the file without `.c`, and the name. LAME's own is then called
    /// `lame_<name>`.
    pub replaces: &'static [(&'static str, &'static str)],
    pub edits: &'static [Edit],
}

/// A change of LAME's text.
pub struct Edit {
    /// Below `libmp3lame`.
    pub file: &'static str,
    /// What must occur exactly once.
    pub from: &'static str,
    pub to: &'static str,
}

/// What every stage may rely on: `gfc->kernels`, zeroed when an encoder starts, for what a stage keeps with it.
const STATE: [Edit; 2] = [
    Edit {
        file: "util.h",
        from: "    struct lame_internal_flags {\n",
        to: "#include \"state.h\"\n#include \"hooks.h\"\n    struct lame_internal_flags {\n",
    },
    Edit {
        file: "util.h",
        from: "        lame_report_function report_err;\n    };\n",
        to: "        lame_report_function report_err;\n        struct micropy_state kernels;\n    };\n",
    },
];

/// In the order of the encoder's work.
pub const STAGES: &[Stage] = &[
    Stage {
        name: "input",
        glue: None,
        replaces: &[],
        // Samples that lie side by side, as ours do, are loaded as vectors.
        edits: &[Edit {
            file: "lame.c",
            from: "    case pcm_float_type:
        COPY_AND_TRANSFORM(float);
        break;
",
            to: "    case pcm_float_type:
        if (jump == 1) {
            float const *const restrict left = l, *const restrict right = r;
            sample_t *const restrict to_left = ib0, *const restrict to_right = ib1;
            FLOAT const ll = m[0][0], lr = m[0][1], rl = m[1][0], rr = m[1][1];
            int     i;
            for (i = 0; i < nsamples; i++) {
                sample_t const xl = left[i];
                sample_t const xr = right[i];
                to_left[i] = xl * ll + xr * lr;
                to_right[i] = xl * rl + xr * rr;
            }
            break;
        }
        COPY_AND_TRANSFORM(float);
        break;
",
        }],
    },
    Stage {
        name: "psychoacoustic spectra and masking",
        glue: Some("psychoacoustics.c"),
        replaces: &[("psymodel", "psymodel_init")],
        edits: &[
            Edit {
                file: "psymodel.c",
                from: "int\nL3psycho_anal_vbr(",
                to: "#ifdef MICROPY_ORACLE\n#include \"psymodel_oracle.h\"\n#else\n\
                     #define micropy_compare_long(gfc, buffer, channels, eb, thr)\n\
                     #define micropy_compare_short(gfc, buffer, block, channels, eb, thr)\n#endif\n\
                     int micropy_long_masking(lame_internal_flags *, const sample_t *const[2], int, int, \
                     FLOAT[4][CBANDS], FLOAT[4][CBANDS]);\n\
                     int micropy_short_masking(lame_internal_flags *, const sample_t *const[2], int, int, const int[2], \
                     FLOAT[4][CBANDS], FLOAT[4][CBANDS]);\n\
                     int\nL3psycho_anal_vbr(",
            },
            Edit {
                file: "psymodel.c",
                from: "    /* LONG BLOCK CASE */\n    {\n        for (chn = 0; chn < n_chn_psy; chn++) {\n",
                to: "    /* LONG BLOCK CASE */\n    {\n        \
                     if (micropy_long_masking(gfc, buffer, gr_out, n_chn_psy, eb, thr)) {\n            \
                     micropy_compare_long(gfc, buffer, n_chn_psy, eb, thr);\n        }\n        else\n        \
                     for (chn = 0; chn < n_chn_psy; chn++) {\n",
            },
            Edit {
                file: "psymodel.c",
                from: "        for (sblock = 0; sblock < 3; sblock++) {\n            \
                       for (chn = 0; chn < n_chn_psy; ++chn) {\n",
                to: "        for (sblock = 0; sblock < 3; sblock++) {\n            \
                     if (!force_short_block_calc \
                     && micropy_short_masking(gfc, buffer, sblock, n_chn_psy, uselongblock, eb, thr)) {\n                \
                     micropy_compare_short(gfc, buffer, sblock, n_chn_psy, eb, thr);\n            }\n            else\n            \
                     for (chn = 0; chn < n_chn_psy; ++chn) {\n",
            },
        ],
    },
    Stage {
        name: "attack detection",
        glue: None,
        replaces: &[],
        edits: &[
            Edit {
                file: "psymodel.c",
                from: "        for (i = 0; i < 576; i++) {\n            FLOAT   sum1, sum2;\n            \
                       sum1 = firbuf[i + 10];\n            sum2 = 0.0;\n            \
                       for (j = 0; j < ((NSFIRLEN - 1) / 2) - 1; j += 2) {\n                \
                       sum1 += fircoef[j] * (firbuf[i + j] + firbuf[i + NSFIRLEN - j]);\n                \
                       sum2 += fircoef[j + 1] * (firbuf[i + j + 1] + firbuf[i + NSFIRLEN - j - 1]);\n            \
                       }\n            ns_hpfsmpl[chn][i] = sum1 + sum2;\n        }\n",
                to: "        void micropy_kernel_high_pass(sample_t const *, FLOAT *);\n        \
                     micropy_kernel_high_pass(firbuf, ns_hpfsmpl[chn]);\n",
            },
            Edit {
                file: "psymodel.c",
                from: "            FLOAT   p = 1.;\n            for (; pf < pfe; pf++)\n                \
                       if (p < fabs(*pf))\n                    p = fabs(*pf);\n",
                to: "            FLOAT micropy_kernel_peak(FLOAT const *);\n            \
                     FLOAT   p = micropy_kernel_peak(pf);\n            pf = pfe;\n",
            },
        ],
    },
    Stage {
        name: "scalefactor bands of the model",
        glue: Some("scalefactor_bands.c"),
        replaces: &[],
        edits: &[
            Edit {
                file: "psymodel.c",
                from: "        for (chn = 0; chn < n_chn_psy; chn++) {
            convert_partition2scalefac_l(gfc, eb[chn], thr[chn], chn);
",
                to: "        if (!micropy_sum_up(gfc, n_chn_psy, eb, thr, convert_partition2scalefac_l, convert_partition2scalefac_l_to_s))
        for (chn = 0; chn < n_chn_psy; chn++) {
            convert_partition2scalefac_l(gfc, eb[chn], thr[chn], chn);
",
            },
            Edit {
                file: "psymodel.c",
                from: "        for (chn = 0; chn < n_chn_psy; chn++) {
            for (sb = 0; sb < SBMAX_s; sb++) {
                FLOAT   new_thmm[3], prev_thm, t1, t2;
",
                to: "        for (chn = 0; chn < n_chn_psy; chn++) {
            if (micropy_limit_without_attack(ns_attacks[chn], psv->last_attacks[chn], sub_short_factor[chn], &psv->thm[chn]))
                continue;
            for (sb = 0; sb < SBMAX_s; sb++) {
                FLOAT   new_thmm[3], prev_thm, t1, t2;
",
            },
            Edit {
                file: "psymodel.c",
                from: "            ppe[chn] = pecalc_l(mr, gfc->sv_qnt.masking_lower);\n",
                to: "            ppe[chn] = micropy_entropy(mr, gfc->sv_qnt.masking_lower, pecalc_l);\n",
            },
        ],
    },
    Stage {
        name: "polyphase filterbank and MDCT",
        glue: Some("filterbank.c"),
        replaces: &[("newmdct", "mdct_sub48")],
        edits: &[],
    },
    Stage {
        name: "powers of the spectrum",
        glue: None,
        replaces: &[],
        edits: &[Edit {
            file: "quantize.c",
            from: "    memset(&(xrpow[upper]), 0, (576 - upper) * sizeof(xrpow[0]));


    gfc->init_xrpow_core(cod_info, xrpow, upper, &sum);
",
            to: "    {
        FLOAT micropy_kernel_powers(FLOAT const *, int, FLOAT *, FLOAT *);
        sum = micropy_kernel_powers(cod_info->xr, upper, xrpow, &cod_info->xrpow_max);
    }
",
        }],
    },
    Stage {
        name: "quantization and bit counting",
        glue: Some("bit_count.c"),
        replaces: &[
            ("takehiro", "noquant_count_bits"),
            ("takehiro", "count_bits"),
            ("takehiro", "best_huffman_divide"),
        ],
        edits: &[Edit {
            file: "vbrquantize.c",
            from: "static int
quantizeAndCountBits(const algo_t * that)
{
    quantize_x34(that);
    that->cod_info->part2_3_length = noquant_count_bits(that->gfc, that->cod_info, 0);
",
            to: "static void
lame_quantize(void const *that)
{
    quantize_x34(that);
}

static int
quantizeAndCountBits(const algo_t * that)
{
    that->cod_info->part2_3_length = micropy_count_bands(that->gfc, that->xr34orig, that->cod_info, that, lame_quantize);
",
        }],
    },
    Stage {
        name: "allowed noise",
        glue: Some("allowed_noise.c"),
        replaces: &[("quantize_pvt", "calc_xmin")],
        edits: &[],
    },
    Stage {
        name: "noise calculation",
        glue: Some("noise.c"),
        replaces: &[("quantize_pvt", "calc_noise")],
        edits: &[Edit {
            file: "quantize.c",
            from: "    int     noise_shaping_amp;\n\n    if (cod_info->scalefac_scale == 0) {\n",
            to: "    int     noise_shaping_amp;\n
    if (micropy_amplify_bands(gfc, cod_info, distort, xrpow, bRefine))
        return;\n
    if (cod_info->scalefac_scale == 0) {\n",
        }],
    },
    Stage {
        name: "scalefactor search",
        glue: Some("scalefactor_search.c"),
        replaces: &[],
        edits: &[
            Edit {
                file: "vbrquantize.c",
                from: "    FLOAT   max_xr34;\n    const FLOAT *const xr = &that->cod_info->xr[0];\n",
                to: "    struct micropy_search const lame = { vec_max_c, find_lowest_scalefac, find_scalefac_x34 };
    int const is_search = that->find == find_scalefac_x34;
    int     least[SFBMAX], found[SFBMAX];
    const FLOAT *const xr = &that->cod_info->xr[0];
",
            },
            Edit {
                file: "vbrquantize.c",
                from: "    that->mingain_l = 0;\n",
                to: "    micropy_find_gains(that->cod_info, that->xr34orig, l3_xmin, is_search, least, found, &lame);
    that->mingain_l = 0;
",
            },
            Edit {
                file: "vbrquantize.c",
                from: "        max_xr34 = vec_max_c(&xr34_orig[j], l);\n\n        m1 = find_lowest_scalefac(max_xr34);\n",
                to: "        m1 = (uint8_t) least[sfb];\n",
            },
            Edit {
                file: "vbrquantize.c",
                from: "                m2 = that->find(&xr[j], &xr34_orig[j], l3_xmin[sfb], l, m1);\n",
                to: "                m2 = is_search ? (uint8_t) found[sfb] : that->find(&xr[j], &xr34_orig[j], l3_xmin[sfb], l, m1);\n",
            },
        ],
    },
    Stage {
        name: "scalefactor length",
        glue: Some("scalefactor_length.c"),
        replaces: &[("takehiro", "scale_bitcount")],
        edits: &[],
    },
    Stage {
        name: "iteration loops",
        glue: None,
        replaces: &[],
        edits: &[
            // Each encoder would fill the tables of powers again. The last value of the last one is there once all are;
            // the first encoder has ended before any other starts.
            Edit {
                file: "quantize_pvt.c",
                from: "        pow43[0] = 0.0;\n        for (i = 1; i < PRECALC_SIZE; i++)\n            pow43[i]",
                to: "        if (pow20[Q_MAX + Q_MAX2] == 0) {\n        pow43[0] = 0.0;\n        \
                     for (i = 1; i < PRECALC_SIZE; i++)\n            pow43[i]",
            },
            Edit {
                file: "quantize_pvt.c",
                from: "            pow20[i] = pow(2.0, (double) (i - 210 - Q_MAX2) * 0.25);\n",
                to: "            pow20[i] = pow(2.0, (double) (i - 210 - Q_MAX2) * 0.25);\n        }\n",
            },
            // The count before has been for the same gain.
            Edit {
                file: "quantize.c",
                from: "                while ((cod_info_w.part2_3_length
                        = count_bits(gfc, xrpow, &cod_info_w, &prev_noise)) > best_part2_3_length
                       && cod_info_w.global_gain <= maxggain)
                    cod_info_w.global_gain++;\n",
                to: "                while (cod_info_w.part2_3_length > best_part2_3_length
                       && cod_info_w.global_gain <= maxggain) {
                    cod_info_w.global_gain++;
                    cod_info_w.part2_3_length = count_bits(gfc, xrpow, &cod_info_w, &prev_noise);
                }\n",
            },
            // The spectrum stays: what else changes of a granule lies behind it.
            Edit {
                file: "quantize.c",
                from: "                *cod_info = cod_info_w;\n",
                to: "                memcpy(cod_info->l3_enc, cod_info_w.l3_enc, sizeof *cod_info - offsetof(gr_info, l3_enc));\n",
            },
            // Only these take the powers back.
            Edit {
                file: "quantize.c",
                from: "                /*if (cfg->vbr == vbr_rh || cfg->vbr == vbr_mtrh) */  {\n",
                to: "                if (cfg->noise_shaping_amp == 3 || (cfg->vbr != vbr_off && cfg->vbr != vbr_abr)) {\n",
            },
        ],
    },
    Stage {
        name: "Huffman coding",
        glue: Some("huffman.c"),
        replaces: &[("VbrTag", "UpdateMusicCRC")],
        edits: &[
            // Stuffing, sixteen bits at once.
            Edit {
                file: "bitstream.c",
                from: "    for (; remainingBits >= 1; remainingBits -= 1) {\n",
                to: "    for (; remainingBits >= 16 && !cfg->disable_reservoir; remainingBits -= 16)
        putbits2(gfc, esv->ancillary_flag ? 0xaaaa : 0x5555, 16);
    for (; remainingBits >= 1; remainingBits -= 1) {
",
            },
            Edit {
                file: "bitstream.c",
                from: "\n\ninline static int\nwriteMainData(",
                to: "\n
static int
write_code(lame_internal_flags * gfc, gr_info const *gi)
{
    return micropy_write_code(gfc, gi, gi->block_type == SHORT_TYPE ? ShortHuffmancodebits : LongHuffmancodebits,
                              huffman_coder_count1);
}

#define ShortHuffmancodebits write_code
#define LongHuffmancodebits write_code
#define huffman_coder_count1(gfc, gi) 0

inline static int
writeMainData(",
            },
        ],
    },
];

/// Copies `libmp3lame` from `source` into `to` and puts the stages there. Returns the folder of the copy.
pub fn lay_out(source: &Path, to: &Path, prefix: &str) -> Result<PathBuf, String> {
    let libmp3lame = to.join("libmp3lame");
    for folder in ["", "vector"] {
        copy_folder(&source.join(folder), &libmp3lame.join(folder))
            .map_err(|error| format!("its source cannot be copied: {error}"))?;
    }
    apply(&libmp3lame, &[], &STATE, prefix)?;
    for stage in STAGES {
        apply(&libmp3lame, stage.replaces, stage.edits, prefix)
            .map_err(|error| format!("the stage `{}` does not fit: {error}", stage.name))?;
    }
    Ok(libmp3lame)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let source = path.extension().is_some_and(|e| e == "c" || e == "h");
        if let (true, Some(name)) = (source, path.file_name()) {
            // Not `fs::copy`: the source may be read-only, and a copy would be too.
            fs::write(to.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// Makes all of these changes, or none.
fn apply(
    folder: &Path,
    replaces: &[(&str, &str)],
    edits: &[Edit],
    prefix: &str,
) -> Result<(), String> {
    let mut texts: Vec<(PathBuf, String)> = Vec::new();
    for &(file, function) in replaces {
        let text = text(&mut texts, folder, &format!("{file}.c"))?;
        // LAME writes a definition's name at the start of a line.
        if text.matches(&format!("\n{function}(")).count() != 1 {
            return Err(format!("{file}.c does not define {function} once"));
        }
        text.insert_str(
            0,
            &format!("#undef {function}\n#define {function} {prefix}lame_{function}\n"),
        );
    }
    for edit in edits {
        let text = text(&mut texts, folder, edit.file)?;
        match text.matches(edit.from).count() {
            1 => *text = text.replacen(edit.from, edit.to, 1),
            count => {
                let first = edit.from.lines().next().unwrap_or_default().trim();
                return Err(format!(
                    "{} has {count} places that start with `{first}`",
                    edit.file
                ));
            }
        }
    }
    for (path, text) in texts {
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The text of a file as changed so far.
fn text<'a>(
    texts: &'a mut Vec<(PathBuf, String)>,
    folder: &Path,
    file: &str,
) -> Result<&'a mut String, String> {
    let path = folder.join(file);
    let at = match texts.iter().position(|(other, _)| *other == path) {
        Some(at) => at,
        None => {
            // Some of LAME's files hold Latin-1 in their comments.
            let bytes = fs::read(&path).map_err(|error| format!("{file}: {error}"))?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            texts.push((path, text));
            texts.len() - 1
        }
    };
    Ok(&mut texts[at].1)
}
