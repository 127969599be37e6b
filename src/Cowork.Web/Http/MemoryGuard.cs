using Cowork.Application.Storage;

namespace Cowork.Web.Http;

/// <summary>
/// The memory that requests may take. Each takes what it may need before it is let in and gives it back when it is answered; together with the heap they stay below
/// three quarters of what the runtime may have (<c>DOTNET_GCHeapHardLimit</c>, or three quarters of a container's limit, or the machine's memory). A tenant that holds
/// some takes more when it then holds at most four times what is still free, as with the slots of jobs: requests of one tenant never fill it for the others.
/// </summary>
public sealed class RequestMemory(TimeProvider clock)
{
    static readonly TimeSpan CollectEvery = TimeSpan.FromMilliseconds(500);

    readonly Lock gate = new();
    readonly Dictionary<string, long> ofTenant = [];
    long taken;
    long refused;
    long? collectedAt;

    /// <summary>Bytes that heap and requests may have together. The process learns its memory when it starts, and every request compares with it.</summary>
    public static long Max { get; } = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4 * 3;

    /// <summary>Requests that were refused since the host's start.</summary>
    public long Refused => Volatile.Read(ref refused);

    /// <summary>Takes bytes for a tenant's request. False: there are not so many for it.</summary>
    public bool Take(string org, long bytes)
    {
        lock (gate)
        {
            var heap = GC.GetTotalMemory(forceFullCollection: false);
            // What is on the heap may be garbage, when it is much. One thread looks, now and then, the others wait for it.
            if (!Fits(org, bytes, heap) && heap > Max / 4 && (collectedAt is not { } at || clock.GetElapsedTime(at) >= CollectEvery))
            {
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: true, compacting: true);
                collectedAt = clock.GetTimestamp();
                heap = GC.GetTotalMemory(forceFullCollection: false);
            }
            if (!Fits(org, bytes, heap))
            {
                CountRefused();
                return false;
            }
            Add(org, bytes);
            return true;
        }
    }

    public void Return(string org, long bytes)
    {
        lock (gate)
        {
            Add(org, -bytes);
        }
    }

    /// <summary>A request met the limit all the same.</summary>
    public void CountRefused() => Interlocked.Increment(ref refused);

    bool Fits(string org, long bytes, long heap)
    {
        var free = Max - heap - taken - bytes;
        return free >= 0 && (!ofTenant.TryGetValue(org, out var held) || held + bytes <= free * 4);
    }

    void Add(string org, long bytes)
    {
        taken += bytes;
        var held = ofTenant.GetValueOrDefault(org) + bytes;
        if (held == 0)
        {
            ofTenant.Remove(org);
        }
        else
        {
            ofTenant[org] = held;
        }
    }
}

/// <summary>The memory that one request has taken.</summary>
public sealed class RequestShare(RequestMemory memory, string org) : IDisposable
{
    readonly Lock gate = new();
    long held;
    long forBody;
    bool isOver;

    /// <summary>Takes what the request needs at its begin. False: there is not so much.</summary>
    /// <param name="body">Bytes of the body, as far as they are told.</param>
    public bool Begin(long page, long body) => Take(MemoryGuard.BytesOfRequest + page) && Covers(body);

    /// <summary>Sees to it that there is memory for so many bytes of a body. False: there is not.</summary>
    public bool Covers(long body)
    {
        var missing = (body * MemoryGuard.TimesOfBody) - forBody;
        if (missing <= 0)
        {
            return true;
        }
        if (!Take(missing))
        {
            return false;
        }
        forBody += missing;
        return true;
    }

    /// <summary>The request waits from now on, and needs hardly anything for it.</summary>
    public void Wait()
    {
        lock (gate)
        {
            if (held > MemoryGuard.BytesOfRequest)
            {
                memory.Return(org, held - MemoryGuard.BytesOfRequest);
                held = MemoryGuard.BytesOfRequest;
            }
        }
    }

    public void Dispose()
    {
        lock (gate)
        {
            isOver = true;
            memory.Return(org, held);
            held = 0;
        }
    }

    bool Take(long bytes)
    {
        lock (gate)
        {
            if (isOver || !memory.Take(org, bytes))
            {
                return false;
            }
            held += bytes;
            return true;
        }
    }
}

/// <summary>Answers 503 <c>memory_pressure</c> instead of doing a request that the process has no memory for. Runs that are under way go on, and health is told.</summary>
public sealed class MemoryGuard(RequestDelegate next, RequestMemory memory)
{
    /// <summary>A request without a body.</summary>
    public const long BytesOfRequest = 64 << 10;

    /// <summary>A body's bytes are there as they came, as JSON, as text of two bytes a character, as event and as row.</summary>
    public const long TimesOfBody = 8;

    /// <summary>What the server holds of a form that is read as it comes, and the buffers that it goes through.</summary>
    public const long BytesOfForm = 2 << 20;

    /// <summary>A page is there as rows, as objects and as what is sent.</summary>
    const long TimesOfPage = 3;

    public async Task InvokeAsync(HttpContext http)
    {
        if (http.GetEndpoint() is not { } endpoint || Caller.Find(http) is not { } caller)
        {
            await next(http);
            return;
        }
        using var share = new RequestShare(memory, caller.Org);
        http.Features.Set(share);
        // A list is read and sent at once. A request that waits for events or runs has hardly anything in memory while it waits.
        var isList = endpoint.Metadata.OfType<WholeNumberQuery>().Any(Lists.IsLimit);
        // A form's file is never in memory as a whole: as much as the server holds back is, once.
        var body = HttpMethods.IsGet(http.Request.Method) ? 0
            : endpoint.Metadata.GetMetadata<TakesForm>() is not null ? BytesOfForm / TimesOfBody
            : http.Request.ContentLength ?? 0;
        await (share.Begin(isList ? PageBytesOf(http) : 0, Math.Min(body, JsonValidator.BodyBytesMax)) ? next(http) : Pressure().ExecuteAsync(http));
    }

    public static ErrorResult Pressure() => new(503, "memory_pressure", "This host has no memory for the request at the moment. Nothing of it was done.") { RetryAfter = 1 };

    /// <summary>A short list needs less, as far as its rows are of the usual size.</summary>
    static long PageBytesOf(HttpContext http) =>
        Math.Min(PageBytes.Max * TimesOfPage, Lists.LimitOrMost(http) * (BytesOfRequest / 8));
}
