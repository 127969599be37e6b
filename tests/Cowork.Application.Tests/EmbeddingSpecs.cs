using System.Collections.Concurrent;
using System.Runtime.CompilerServices;

using Cowork.Application.Models;
using Cowork.Testing;

using Microsoft.Extensions.Logging;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>How the embedding model is asked, and how chunks get their vectors, without a database.</summary>
public sealed class EmbeddingSpecs : IAsyncDisposable
{
    const string Key = "sk-spec-0123456789abcdef";

    readonly EmbeddingServer server = new();
    readonly Lines log = new();

    EmbeddingSettings Settings => new()
    {
        Model = "spec",
        Dimensions = EmbeddingServer.Dimensions,
        BaseUrl = server.Url,
        Key = Key,
        Retries = new(3, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(2)),
    };

    static CancellationToken None => CancellationToken.None;

    public ValueTask DisposeAsync() => server.DisposeAsync();

    [Fact]
    public async Task Vectors_come_in_the_order_of_the_texts_and_settings_add_members_to_the_request()
    {
        using var client = new EmbeddingClient(
            Settings with { Request = Settings.Request.Add("dimensions", System.Text.Json.JsonElement.Parse("5")) }, TimeProvider.System);
        var vectors = await client.Embed(["a boat", "an owl"], None);
        Assert.Equal([EmbeddingServer.VectorOf("a boat"), EmbeddingServer.VectorOf("an owl")], vectors);
        var asked = Assert.Single(server.Asked);
        Assert.Equal("""{"model":"spec","input":["a boat","an owl"],"dimensions":5}""", asked.Body.GetRawText());
        Assert.Equal($"Bearer {Key}", asked.Headers["Authorization"]);
    }

    [Theory]
    [InlineData(503, 3, ModelException.Unavailable)]
    [InlineData(429, 3, ModelException.Unavailable)]
    [InlineData(401, 1, ModelException.Refused)]
    [InlineData(400, 1, ModelException.Refused)]
    [InlineData(302, 1, ModelException.Refused)]
    public async Task What_may_succeed_later_is_tried_again_and_no_message_has_the_key(int status, int requests, string code)
    {
        server.Break(status, $$$"""{"error":{"message":"Bad key {{{Key}}}, {{{Key[..10]}}}…"}}""");
        using var client = new EmbeddingClient(Settings, TimeProvider.System);
        var refused = await Assert.ThrowsAsync<ModelException>(() => client.Embed(["x"], None));
        Assert.Equal((code, requests), (refused.Code, server.Requests));
        Assert.DoesNotContain(Key[..8], refused.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(Key, Settings.ToString(), StringComparison.Ordinal);
        await Assert.ThrowsAsync<ModelException>(() => client.EmbedQuery("x", None));
        Assert.Equal(requests + 1, server.Requests);
    }

    [Fact]
    public async Task An_answer_without_end_is_read_no_further_than_the_vectors_could_be_long()
    {
        server.Break(async asked =>
        {
            await asked.Head(200, "application/json");
            while (true)
            {
                await asked.Send(new string(' ', 4_096));
            }
        });
        using var client = new EmbeddingClient(Settings, TimeProvider.System);
        var odd = await Assert.ThrowsAsync<ModelException>(() => client.Embed(["x"], None));
        Assert.Equal("The model \"spec\" answered no list of vectors.", odd.Message);
    }

    [Fact]
    public async Task A_chunk_that_the_model_refuses_costs_the_others_nothing()
    {
        server.Break(asked => asked.Body.GetProperty("input").EnumerateArray().Any(text => text.GetString() == "chunk 37")
            ? EmbeddingServer.Answer(asked, 400, """{"error":{"message":"I do not like it."}}""")
            : EmbeddingServer.Answer(asked, 200, $$"""{"data":[{{string.Join(',', EmbeddingServer.Items(asked, EmbeddingServer.VectorOf))}}]}"""));
        var vectors = new VectorsInMemory();
        vectors.Add("o", "grant:/a", 200);
        const string Told = "A chunk of the context gets no vector, and is found by full text: The model \"spec\" answered 400: I do not like it.";
        await Embed(vectors, () => vectors.Held == 199 && log.All.Contains(Told));
        Assert.InRange(server.Requests, 4, 20);
    }

    [Fact]
    public async Task A_model_that_refuses_everything_is_asked_a_few_times_and_later_again()
    {
        server.Break(401, "{}");
        var vectors = new VectorsInMemory();
        vectors.Add("o", "grant:/a", 200);
        await Embed(vectors, () => log.All.Any(line => line.StartsWith("Chunks of the context get no vectors for now", StringComparison.Ordinal)), async embedded =>
        {
            Assert.InRange(server.Requests, 1, 8);
            server.Mend();
            embedded.Asked("o", "grant:/a");
            await Patience.Until(() => vectors.Held == 200);
        });
    }

    [Fact]
    public async Task Owners_take_turns()
    {
        var vectors = new VectorsInMemory();
        vectors.Add("o", "grant:/large", 640);
        vectors.Add("p", "grant:/small", 10);
        await Embed(vectors, () => vectors.Held == 650);
        // Two batches of the large one at the most are before the small one's.
        Assert.InRange(vectors.Puts.ToList().FindIndex(put => put == "p"), 0, 2);
        Assert.All(server.Asked, asked => Assert.InRange(asked.Body.GetProperty("input").GetArrayLength(), 1, 64));
    }

    /// <summary>Chunks get vectors until something holds, and while what comes then is done.</summary>
    async Task Embed(VectorsInMemory vectors, Func<bool> until, Func<ContextVectors, Task>? then = null, [CallerArgumentExpression(nameof(until))] string what = "")
    {
        using var stop = new CancellationTokenSource();
        using var embedded = new ContextVectors(vectors, new(Settings, TimeProvider.System), TimeProvider.System, log);
        var running = embedded.Run(stop.Token);
        try
        {
            await Patience.Until(until, () => string.Join('\n', log.All), what);
            await (then?.Invoke(embedded) ?? Task.CompletedTask);
        }
        finally
        {
            await stop.CancelAsync();
            await running;
        }
    }

    sealed class Lines : ILogger<ContextVectors>
    {
        public ConcurrentQueue<string> All { get; } = new();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            All.Enqueue(formatter(state, exception));
    }

    /// <summary>Chunks, and which of them have a vector.</summary>
    sealed class VectorsInMemory : IVectors
    {
        readonly ConcurrentDictionary<(string Org, string Owner), IReadOnlyList<UnembeddedChunk>> chunks = new();
        readonly ConcurrentDictionary<(string Org, ChunkPlace Place), float[]> held = new();

        public string? WhyNot => null;

        public int Held => held.Count;

        /// <summary>Whose vectors were kept, in order.</summary>
        public ConcurrentQueue<string> Puts { get; } = new();

        public void Add(string org, string owner, int count) =>
            chunks[(org, owner)] = [.. Enumerable.Range(1, count).Select(nr => new UnembeddedChunk(new(1, nr), BitConverter.GetBytes(nr), $"chunk {nr}"))];

        public ValueTask<IReadOnlyList<(string Org, string Owner)>> Owners(CancellationToken ct) => new([.. chunks.Keys]);

        public ValueTask<IReadOnlyList<UnembeddedChunk>> Missing(string org, string owner, VectorKind kind, ChunkPlace after, int max, CancellationToken ct) =>
            new([.. chunks[(org, owner)].Where(chunk => chunk.Place.Nr > after.Nr && !held.ContainsKey((org, chunk.Place))).Take(max)]);

        public ValueTask Put(string org, VectorKind kind, IReadOnlyList<(UnembeddedChunk Chunk, float[] Vector)> vectors, CancellationToken ct)
        {
            Puts.Enqueue(org);
            foreach (var (chunk, vector) in vectors)
            {
                held[(org, chunk.Place)] = vector;
            }
            return default;
        }

        public ValueTask RemoveStale(string org, string owner, VectorKind kind, CancellationToken ct) => default;

        public ValueTask<IReadOnlyList<(string Owner, Passage Passage)>> Nearest(
            string org, IReadOnlyList<string> scopes, VectorKind kind, float[] query, int max, CancellationToken ct) => new([]);
    }
}
