using System.Collections.Concurrent;
using System.Threading.Channels;

using Cowork.Application.Models;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// The vectors of the project context: chunks get them after they are indexed, from the embedding model, and a query is compared with them. Full text never waits for
/// them: a chunk without one is found by its words, and is tried again.
/// </summary>
/// <param name="model">Null: none is configured, and there are no vectors.</param>
public sealed partial class ContextVectors(IVectors vectors, EmbeddingClient? model, TimeProvider clock, ILogger<ContextVectors> logger) : IDisposable
{
    /// <summary>Chunks of one request to the model. A chunk has about 1 600 bytes.</summary>
    const int BatchChunks = 64;

    /// <summary>Refusals in a row after which the model is asked nothing more for a while: one chunk that it refuses is found, by halving its batch, with one fewer.</summary>
    const int RefusalsMax = 8;

    /// <summary>Until chunks that could not be embedded are tried again. A synchronisation of their folder tries them at once.</summary>
    static readonly TimeSpan RetryAfter = TimeSpan.FromMinutes(1);

    readonly Channel<(string Org, string Owner, ChunkPlace After)> work = Channel.CreateUnbounded<(string, string, ChunkPlace)>();
    readonly ConcurrentDictionary<(string Org, string Owner), bool> waiting = new(), incomplete = new();
    readonly HashSet<ChunkPlace> refused = [];
    bool failing;

    readonly VectorKind kind = new(model?.Settings.Model ?? "", model?.Settings.Dimensions ?? 0);

    /// <summary>True: an embedding model is configured, and the database can hold its vectors.</summary>
    public bool IsOn => model is not null && vectors.WhyNot is null;

    /// <summary>An owner's texts have changed.</summary>
    public void Changed(string org, string owner)
    {
        if (IsOn && waiting.TryAdd((org, owner), true))
        {
            work.Writer.TryWrite((org, owner, default));
        }
    }

    /// <summary>Somebody asks for an owner's texts to be up to date: what could not be embedded is tried again.</summary>
    public void Asked(string org, string owner)
    {
        if (incomplete.ContainsKey((org, owner)))
        {
            Changed(org, owner);
        }
    }

    /// <summary>The nearest chunks; empty: there are no vectors, or the model gave none of the query in time.</summary>
    public async Task<IReadOnlyList<(string Owner, Passage Passage)>> Nearest(string org, IReadOnlyList<string> scopes, string query, int max, CancellationToken ct)
    {
        if (!IsOn)
        {
            return [];
        }
        try
        {
            return await vectors.Nearest(org, scopes, kind, await model!.EmbedQuery(query, ct), max, ct);
        }
        catch (ModelException e)
        {
            LogQueryFailed(logger, e.Message);
            return [];
        }
        catch (VectorsLostException e)
        {
            LogQueryFailed(logger, e.Message);
            return [];
        }
    }

    /// <summary>Gives vectors to chunks that have none until it is told to stop: those that an earlier host, or an earlier model, has left, and then those that change.</summary>
    public async Task Run(CancellationToken ct)
    {
        try
        {
            if (IsOn)
            {
                LogOn(logger, model!.Settings);
                await Task.WhenAll(Embed(ct), Retry(ct));
            }
            if (model is not null && vectors.WhyNot is { } why)
            {
                LogOff(logger, why);
            }
            await Task.Delay(Timeout.InfiniteTimeSpan, clock, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            // Told to stop.
        }
    }

    public void Dispose() => model?.Dispose();

    async Task Retry(CancellationToken ct)
    {
        var begun = false;
        using var timer = new PeriodicTimer(RetryAfter, clock);
        do
        {
            try
            {
                if (!begun)
                {
                    foreach (var (org, owner) in await vectors.Owners(ct))
                    {
                        Changed(org, owner);
                    }
                    begun = true;
                }
            }
#pragma warning disable CA1031 // Whatever fails is logged, and tried again.
            catch (Exception e) when (!ct.IsCancellationRequested)
#pragma warning restore CA1031
            {
                LogFailed(logger, e.Message);
            }
            foreach (var (org, owner) in incomplete.Keys)
            {
                Changed(org, owner);
            }
        }
        while (await timer.WaitForNextTickAsync(ct));
    }

    /// <summary>One batch of one owner after the other, so that a large folder does not hold up the others.</summary>
    async Task Embed(CancellationToken ct)
    {
        await foreach (var (org, owner, after) in work.Reader.ReadAllAsync(ct))
        {
            if (after == default)
            {
                waiting.TryRemove((org, owner), out _);
                incomplete.TryRemove((org, owner), out _);
            }
            try
            {
                if (await EmbedBatch(org, owner, after, ct) is { } next)
                {
                    work.Writer.TryWrite((org, owner, next));
                }
            }
#pragma warning disable CA1031 // Whatever fails is logged, and tried again.
            catch (Exception e) when (!ct.IsCancellationRequested)
#pragma warning restore CA1031
            {
                incomplete.TryAdd((org, owner), true);
                // The first of a row is told: the service may be away for hours.
                if (!failing)
                {
                    LogFailed(logger, e.Message);
                }
                failing = true;
            }
        }
    }

    /// <summary>Answers where to go on; null: that was all.</summary>
    async Task<ChunkPlace?> EmbedBatch(string org, string owner, ChunkPlace after, CancellationToken ct)
    {
        var missing = await vectors.Missing(org, owner, kind, after, BatchChunks, ct);
        var (batches, refusals) = (new Stack<IReadOnlyList<UnembeddedChunk>>(), 0);
        if (missing.Count > 0)
        {
            batches.Push(missing);
        }
        while (batches.TryPop(out var batch))
        {
            try
            {
                var found = await model!.Embed([.. batch.Select(chunk => chunk.Text)], ct);
                await vectors.Put(org, kind, [.. batch.Zip(found)], ct);
                (refusals, failing) = (0, false);
            }
            catch (ModelException e) when (e.Code != ModelException.Unavailable && ++refusals < RefusalsMax)
            {
                if (batch.Count > 1)
                {
                    batches.Push([.. batch.Skip(batch.Count / 2)]);
                    batches.Push([.. batch.Take(batch.Count / 2)]);
                    continue;
                }
                incomplete.TryAdd((org, owner), true);
                // It is tried again for ever, and told once.
                if (refused.Add(batch[0].Place))
                {
                    LogRefused(logger, e.Message);
                }
            }
        }
        if (missing.Count == BatchChunks)
        {
            return missing[^1].Place;
        }
        await vectors.RemoveStale(org, owner, kind, ct);
        return null;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Context is searched by full text and by vectors of {Model}")]
    static partial void LogOn(ILogger logger, EmbeddingSettings model);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Context is searched by full text only, though an embedding model is configured: {Why}")]
    static partial void LogOff(ILogger logger, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Chunks of the context get no vectors for now, and are found by full text: {Why}")]
    static partial void LogFailed(ILogger logger, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A chunk of the context gets no vector, and is found by full text: {Why}")]
    static partial void LogRefused(ILogger logger, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A query of the context was answered by full text only: {Why}")]
    static partial void LogQueryFailed(ILogger logger, string why);
}

/// <summary>What the database had for vectors is gone, or not as it was: the extension, the table, a right.</summary>
public sealed class VectorsLostException : Exception
{
    public VectorsLostException()
    {
    }

    public VectorsLostException(string message)
        : base(message)
    {
    }

    public VectorsLostException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
