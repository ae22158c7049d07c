// Streams and events. All work is done by the time that the call returns, so that there is nothing to wait for.
#include "api.h"

using namespace cuda_on_cpu;

namespace cuda_on_cpu {
struct Stream {};
struct Event {};
} // namespace cuda_on_cpu

API Result cuStreamCreate(Stream **stream, unsigned) {
    if (!has_context()) return INVALID_CONTEXT;
    *stream = new Stream;
    return SUCCESS;
}

API Result cuStreamCreateWithPriority(Stream **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

API Result cuStreamDestroy_v2(Stream *stream) {
    delete stream;
    return SUCCESS;
}

API Result cuStreamSynchronize(Stream *) { return SUCCESS; }

API Result cuStreamQuery(Stream *) { return SUCCESS; }

API Result cuStreamWaitEvent(Stream *, Event *event, unsigned) { return event ? SUCCESS : INVALID_VALUE; }

API Result cuStreamIsCapturing(Stream *, int *status) {
    *status = 0;
    return SUCCESS;
}

API Result cuEventCreate(Event **event, unsigned) {
    if (!has_context()) return INVALID_CONTEXT;
    *event = new Event;
    return SUCCESS;
}

API Result cuEventDestroy_v2(Event *event) {
    delete event;
    return SUCCESS;
}

API Result cuEventRecord(Event *event, Stream *) { return event ? SUCCESS : INVALID_VALUE; }

API Result cuEventSynchronize(Event *event) { return event ? SUCCESS : INVALID_VALUE; }

API Result cuEventQuery(Event *event) { return event ? SUCCESS : INVALID_VALUE; }

API Result cuEventElapsedTime_v2(float *milliseconds, Event *, Event *) {
    *milliseconds = 0.0f;
    return SUCCESS;
}

API Result cuEventElapsedTime(float *milliseconds, Event *from, Event *to) {
    return cuEventElapsedTime_v2(milliseconds, from, to);
}

API Result cuLaunchHostFunc(Stream *, void (*function)(void *), void *data) {
    function(data);
    return SUCCESS;
}
