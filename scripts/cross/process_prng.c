// bcryptprimitives.dll for Wine before version 9, which has none. Rust's standard library asks it for random numbers.
#include <windows.h>

// Its name in <ntsecapi.h> is RtlGenRandom; advapi32 exports it under this one.
BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    const SIZE_T most = 1u << 30;
    for (SIZE_T done = 0; done < length;) {
        SIZE_T piece = length - done < most ? length - done : most;
        if (!SystemFunction036(buffer + done, (ULONG)piece))
            return FALSE;
        done += piece;
    }
    return TRUE;
}
