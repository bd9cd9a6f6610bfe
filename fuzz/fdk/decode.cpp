// Hands packets to the FDK decoder as micropy-fdk does, for libFuzzer or from files.
//
// An input is a stream: one byte with the length of an AudioSpecificConfig, the configuration, and then packets, each
// behind its length (two bytes, the high one first). The last packet ends where the input ends.
//
// Where the environment has FDK_OUTCOMES, it tells what came of the configuration and of each packet.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include <sanitizer/common_interface_defs.h>

// Says once of each assertion that it failed: the packet that made it fail is no fault, since the guard ends the call.
static void note_assertion(void *caller) {
  static std::set<void *> noted;
  if (!noted.insert(caller).second) return;
  char place[1024];
  __sanitizer_symbolize_pc(caller, "%F %L", place, sizeof place);
  fprintf(stderr, "assertion %s\n", place);
}
#define MICROPY_FDK_NOTE_ASSERTION() note_assertion(__builtin_return_address(0))
#include "guard.cpp"

namespace {

// As in micropy-fdk/src/lib.rs; fuzz/tests/fdk.rs compares them.
const struct {
  AACDEC_PARAM parameter;
  int value;
} PARAMETERS[] = {
    {AAC_PCM_OUTPUT_CHANNEL_MAPPING, 1}, {AAC_PCM_MAX_OUTPUT_CHANNELS, -1},
    {AAC_PCM_MIN_OUTPUT_CHANNELS, -1},   {AAC_PCM_LIMITER_ENABLE, 0},
    {AAC_CONCEAL_METHOD, 0},             {AAC_DRC_BOOST_FACTOR, 0},
    {AAC_DRC_ATTENUATION_FACTOR, 0},     {AAC_DRC_REFERENCE_LEVEL, -1},
    {AAC_UNIDRC_SET_EFFECT, -1},         {AAC_QMF_LOWPOWER, 0},
};
const size_t MAX_PACKET = 16 << 10;
const size_t PCM = 8 * 4096;
// More take long, and hold nothing that fewer do not: what a packet leaves behind is seen in the next few.
const size_t MOST_PACKETS = 8;

struct Stream {
  std::vector<uint8_t> config;
  std::vector<std::vector<uint8_t>> packets;
};

Stream parse(const uint8_t *data, size_t size) {
  Stream stream;
  if (size == 0) return stream;
  size_t at = 1, length = data[0];
  if (length > size - at) length = size - at;
  stream.config.assign(data + at, data + at + length);
  at += length;
  while (size - at >= 2 && stream.packets.size() < MOST_PACKETS) {
    length = data[at] << 8 | data[at + 1];
    at += 2;
    if (length > size - at) length = size - at;
    stream.packets.emplace_back(data + at, data + at + length);
    at += length;
  }
  return stream;
}

size_t write(const Stream &stream, uint8_t *data, size_t room) {
  size_t at = 0;
  auto put = [&](const uint8_t *bytes, size_t length) {
    if (length > room - at) length = room - at;
    if (length > 0) memcpy(data + at, bytes, length);
    at += length;
  };
  const uint8_t config_length = std::min<size_t>(stream.config.size(), 255);
  put(&config_length, 1);
  put(stream.config.data(), config_length);
  for (size_t i = 0; i < std::min(stream.packets.size(), MOST_PACKETS); i++) {
    const auto &packet = stream.packets[i];
    if (room - at < 3) break;
    const size_t length = std::min<size_t>(packet.size(), 0xFFFF);
    const uint8_t head[2] = {uint8_t(length >> 8), uint8_t(length)};
    put(head, 2);
    put(packet.data(), length);
  }
  return at;
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));

// Mutations that keep the packets apart: without it, whatever changes a length ruins all that comes behind.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  Stream stream = parse(data, size);
  auto mutate = [&](std::vector<uint8_t> &bytes, size_t most) {
    const size_t length = bytes.size();
    bytes.resize(std::max(length, most));
    bytes.resize(LLVMFuzzerMutate(bytes.data(), length, bytes.size()));
  };
  auto &packets = stream.packets;
  const unsigned way = random() % 16;
  if (packets.empty() || way == 0) {
    mutate(stream.config, 64);
  } else {
    const size_t chosen = random() % packets.size();
    auto &packet = packets[chosen];
    const size_t bits = 8 * packet.size();
    if (way == 1) {
      packets.insert(packets.begin() + random() % packets.size(), packet);
    } else if (way == 2) {
      packets.erase(packets.begin() + chosen);
    } else if (way == 3) {
      packet.resize(random() % (packet.size() + 1));
    } else if (way == 4 && bits > 0) {
      // From a place on, one bit more or less: what comes behind is shifted.
      const size_t from = random() % bits;
      const bool more = random() % 2;
      auto bit = [](const std::vector<uint8_t> &bytes, size_t i) { return bytes[i / 8] >> (7 - i % 8) & 1; };
      const auto before = packet;
      for (size_t i = from; i < bits; i++) {
        const size_t source = more ? (i == from ? i : i - 1) : std::min(i + 1, bits - 1);
        const uint8_t mask = 0x80 >> i % 8;
        packet[i / 8] = bit(before, source) ? packet[i / 8] | mask : packet[i / 8] & ~mask;
      }
    } else if (way < 9 && bits > 0) {
      for (unsigned n = random() % 4; n != ~0u; n--) {
        // The head of a packet decides most.
        const size_t at = random() % std::min<size_t>(bits, random() % 2 ? 64 : bits);
        packet[at / 8] ^= 0x80 >> at % 8;
      }
    } else {
      mutate(packet, packet.size() + 64);
    }
  }
  return write(stream, data, max_size);
}

// The packets of another stream behind those of the first, or among them.
extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                            uint8_t *out, size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  Stream stream = parse(data1, size1), other = parse(data2, size2);
  for (auto &packet : other.packets)
    if (random() % 2) stream.packets.insert(stream.packets.begin() + random() % (stream.packets.size() + 1), packet);
  return write(stream, out, max_size);
}

// A status, and a sum of the PCM behind it (FNV-1a).
static void tell(int status, const INT_PCM *pcm, size_t samples) {
  static const bool told = getenv("FDK_OUTCOMES") != nullptr;
  if (!told) return;
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t i = 0; i < samples; i++)
    sum = (sum ^ uint16_t(pcm[i])) * 0x100000001b3;
  printf("outcome %#x %016llx\n", status, (unsigned long long)sum);
}

// As Instance::open in micropy-fdk/src/lib.rs.
static HANDLE_AACDECODER open(std::vector<uint8_t> &config) {
  HANDLE_AACDECODER decoder = aacDecoder_Open(TT_MP4_RAW, 1);
  if (decoder == nullptr) return nullptr;
  for (auto &entry : PARAMETERS)
    aacDecoder_SetParam(decoder, entry.parameter, entry.value);
  UCHAR *bytes = config.data();
  const UINT length = config.size();
  const int status = micropy_fdk_config(decoder, &bytes, &length);
  tell(status, nullptr, 0);
  if (status == AAC_DEC_OK) return decoder;
  aacDecoder_Close(decoder);
  return nullptr;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Stream stream = parse(data, size);
  HANDLE_AACDECODER decoder = open(stream.config);
  // On the heap, so that the sanitizer knows their ends.
  static std::vector<INT_PCM> pcm(PCM);
  for (auto &packet : stream.packets) {
    if (decoder == nullptr) break;
    if (packet.size() > MAX_PACKET) continue;
    UCHAR *bytes = packet.data();
    const UINT length = packet.size();
    UINT left = length;
    aacDecoder_SetParam(decoder, AAC_TPDEC_CLEAR_BUFFER, 1);
    int status = micropy_fdk_fill(decoder, &bytes, &length, &left);
    if (status == AAC_DEC_OK && left != 0) continue;
    if (status == AAC_DEC_OK) status = micropy_fdk_decode(decoder, pcm.data(), PCM, 0);
    size_t samples = 0;
    if (status == AAC_DEC_OK) {
      const CStreamInfo *info = aacDecoder_GetStreamInfo(decoder);
      samples = std::min(size_t(info->frameSize) * info->numChannels, PCM);
    }
    tell(status, pcm.data(), samples);
    if (status == MICROPY_FDK_ASSERTION) {
      aacDecoder_Close(decoder);
      decoder = open(stream.config);
    }
  }
  if (decoder != nullptr) aacDecoder_Close(decoder);
  return 0;
}
