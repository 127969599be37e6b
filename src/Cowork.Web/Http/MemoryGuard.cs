using Cowork.Application.Storage;

using Microsoft.AspNetCore.Authorization;

namespace Cowork.Web.Http;

/// <summary>
/// The memory that requests may take. Each takes what it may need before it is let in and gives it back when it is answered; together with the heap they stay below
/// three quarters of what the runtime may have (<c>DOTNET_GCHeapHardLimit</c>, or three quarters of a container's limit, or the machine's memory).
/// </summary>
public sealed class RequestMemory(TimeProvider clock)
{
    static readonly TimeSpan CollectEvery = TimeSpan.FromMilliseconds(500);

    readonly Lock gate = new();
    long taken;
    long refused;
    long collectedAt;

    /// <summary>Bytes that heap and requests may have together.</summary>
    public static long Max => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3;

    /// <summary>Requests that were refused since the host's start.</summary>
    public long Refused => Volatile.Read(ref refused);

    /// <summary>Takes bytes until the answer is disposed; null: there are not so many.</summary>
    public IDisposable? Take(long bytes)
    {
        if (!Fits(bytes))
        {
            // What is on the heap may be garbage. One thread looks, now and then, the others wait for it.
            lock (gate)
            {
                if (!Fits(bytes) && (collectedAt == 0 || clock.GetElapsedTime(collectedAt) >= CollectEvery))
                {
                    GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
                    collectedAt = clock.GetTimestamp();
                }
                if (!Fits(bytes))
                {
                    Interlocked.Increment(ref refused);
                    return null;
                }
            }
        }
        Interlocked.Add(ref taken, bytes);
        return new Share(this, bytes);
    }

    /// <summary>A request met the limit all the same.</summary>
    public void CountRefused() => Interlocked.Increment(ref refused);

    bool Fits(long bytes) => GC.GetTotalMemory(forceFullCollection: false) + Volatile.Read(ref taken) + bytes <= Max;

    sealed class Share(RequestMemory all, long bytes) : IDisposable
    {
        long held = bytes;

        public void Dispose() => Interlocked.Add(ref all.taken, -Interlocked.Exchange(ref held, 0));
    }
}

/// <summary>Answers 503 <c>memory_pressure</c> instead of letting a request in that the process has no memory for. Runs that are under way go on, and health is told.</summary>
public sealed class MemoryGuard(RequestDelegate next, RequestMemory memory)
{
    /// <summary>A request without a body.</summary>
    const long BytesOfRequest = 64 << 10;

    /// <summary>A body's bytes are there as they came, as JSON, as text of two bytes a character, as event and as row.</summary>
    const long TimesOfBody = 8;

    /// <summary>Of a body whose length is not told.</summary>
    const long BytesOfUnknown = 256 << 10;

    /// <summary>A page is there as rows, as objects and as what is sent.</summary>
    const long TimesOfPage = 3;

    public async Task InvokeAsync(HttpContext http)
    {
        if (http.GetEndpoint() is not { } endpoint || endpoint.Metadata.GetMetadata<IAllowAnonymous>() is not null)
        {
            await next(http);
            return;
        }
        using var share = memory.Take(BytesOf(http, endpoint));
        await (share is null ? Pressure().ExecuteAsync(http) : next(http));
    }

    public static ErrorResult Pressure() => new(503, "memory_pressure", "This host has no memory for the request at the moment. Nothing of it was done.") { RetryAfter = 1 };

    /// <summary>A list is read and sent at once. A request that waits for events or runs has hardly anything in memory while it waits.</summary>
    static long BytesOf(HttpContext http, Endpoint endpoint)
    {
        var body = HttpMethods.IsGet(http.Request.Method) ? 0 : http.Request.ContentLength ?? BytesOfUnknown;
        var isList = endpoint.Metadata.OfType<WholeNumberQuery>().Any(Lists.IsLimit);
        return BytesOfRequest + (Math.Min(body, JsonValidator.BodyBytesMax) * TimesOfBody) + (isList ? PageBytesOf(http) : 0);
    }

    /// <summary>A short list needs less, as far as its rows are of the usual size.</summary>
    static long PageBytesOf(HttpContext http) =>
        Math.Min(PageBytes.Max * TimesOfPage, Lists.LimitOrMost(http) * (BytesOfRequest / 8));
}
