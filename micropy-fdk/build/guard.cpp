// Ends a call of the library where one of its assertions fails, and only the call.
//
// The library's own FDK_ASSERT ends the process on x86, and asserts nothing elsewhere. Some of what it asserts is for
// the packet to say, and guards memory. With the patch `assertions`, what would follow a failed assertion is done on no
// processor: the call that was made here returns MICROPY_FDK_ASSERTION. The decoder is then in the middle of something;
// all that may be done with it is to close it.
//
// Nothing that is left by the jump has a destructor, and the library keeps no locks.

#include <setjmp.h>
#include <stdlib.h>

#include "aacdecoder_lib.h"

// `_setjmp` does not save the signal mask, which would take a system call.
#ifdef _WIN32
#define MICROPY_FDK_SETJMP(buffer) setjmp(buffer)
#define MICROPY_FDK_LONGJMP(buffer) longjmp(buffer, 1)
#else
#define MICROPY_FDK_SETJMP(buffer) _setjmp(buffer)
#define MICROPY_FDK_LONGJMP(buffer) _longjmp(buffer, 1)
#endif

// Where the fuzzer's harness notes which assertion it was.
#ifndef MICROPY_FDK_NOTE_ASSERTION
#define MICROPY_FDK_NOTE_ASSERTION()
#endif

// Other than any AAC_DECODER_ERROR.
static const int MICROPY_FDK_ASSERTION = 0x7000;

static thread_local jmp_buf *call_of_this_thread = nullptr;

extern "C" [[noreturn]] void micropy_fdk_assertion_failed() {
  MICROPY_FDK_NOTE_ASSERTION();
  // Opening, setting parameters and closing assert nothing that a file decides, and are called without a guard.
  if (call_of_this_thread == nullptr) abort();
  MICROPY_FDK_LONGJMP(*call_of_this_thread);
}

template <typename Call>
static int guarded(Call call) {
  jmp_buf here;
  if (MICROPY_FDK_SETJMP(here) != 0) {
    call_of_this_thread = nullptr;
    return MICROPY_FDK_ASSERTION;
  }
  call_of_this_thread = &here;
  const int status = call();
  call_of_this_thread = nullptr;
  return status;
}

extern "C" int micropy_fdk_config(HANDLE_AACDECODER decoder, UCHAR **configs, const UINT *lengths) {
  return guarded([=] { return aacDecoder_ConfigRaw(decoder, configs, lengths); });
}

extern "C" int micropy_fdk_fill(HANDLE_AACDECODER decoder, UCHAR **packets, const UINT *lengths, UINT *left) {
  return guarded([=] { return aacDecoder_Fill(decoder, packets, lengths, left); });
}

extern "C" int micropy_fdk_decode(HANDLE_AACDECODER decoder, INT_PCM *pcm, INT pcm_length, UINT flags) {
  return guarded([=] { return aacDecoder_DecodeFrame(decoder, pcm, pcm_length, flags); });
}

// An assertion as the library makes it, for the test of all this: no packet is known that makes one of its own fail.
extern "C" int micropy_fdk_assert(int holds) {
  return guarded([=] {
    FDK_ASSERT(holds != 0);
    return static_cast<int>(AAC_DEC_OK);
  });
}
