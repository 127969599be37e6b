using System.Net;

using Cowork.Application.Storage;
using Cowork.Testing;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Cowork.Web.Tests;

/// <summary>Requests that end while they are looked at.</summary>
public sealed class OpenRequestsSpecs
{
    readonly FakeTimeProvider clock = new();
    readonly TaskCompletionSource reading = new();

    [Fact]
    public async Task A_request_that_is_answered_while_its_token_is_looked_at_is_left_alone()
    {
        var http = new DefaultHttpContext();
        http.Connection.RemoteIpAddress = IPAddress.Loopback;
        OpenRequest? request = null;
        var requests = Requests(() =>
        {
            request!.Dispose();
            // As a server does with the context of a request that is over.
            http.Uninitialize();
        });
        request = Enter(requests, http);
        await Look(requests);
        Assert.Equal(0, requests.Count);
    }

    [Fact]
    public async Task A_request_whose_end_fails_ends_neither_the_others_nor_the_host()
    {
        var requests = Requests(() => { });
        var (bad, good) = (new DefaultHttpContext(), new DefaultHttpContext());
        using var first = Enter(requests, bad);
        using var second = Enter(requests, good);
        using var failing = bad.RequestAborted.Register(() => throw new InvalidOperationException("as a callback may"));
        var over = new TaskCompletionSource();
        using var hearing = good.RequestAborted.Register(over.SetResult);
        await Look(requests);
        await over.Task.WaitAsync(Patience.Limit);
        Assert.Equal((401, 401), (first.Ended!.Status, second.Ended!.Status));
    }

    /// <summary>Has the host's loop look at the requests, and ends the loop, which throws what went wrong in it.</summary>
    async Task Look(OpenRequests requests)
    {
        using var ending = new CancellationTokenSource();
        var running = requests.Run(ending.Token);
        clock.Advance(TimeSpan.FromSeconds(1));
        await reading.Task.WaitAsync(Patience.Limit);
        await ending.CancelAsync();
        await running;
    }

    /// <param name="looked">Called when the tokens' rows are read; there are none.</param>
    OpenRequests Requests(Action looked) => new(
        new NoRows(() =>
        {
            looked();
            reading.TrySetResult();
        }),
        clock, NullLogger<OpenRequests>.Instance);

    OpenRequest Enter(OpenRequests requests, HttpContext http)
    {
        var request = requests.Enter(http, new(BearerToken.New("default", clock.GetUtcNow()), null, null, requests.Heard), needs: null);
        requests.OthersWrote();
        clock.Advance(TimeSpan.FromSeconds(1));
        return request;
    }

    sealed class NoRows(Action looked) : IRows
    {
        public ValueTask<Row?> Get(string org, string table, string key, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<Row>> Get(string org, string table, IReadOnlyList<string> keys, CancellationToken ct)
        {
            looked();
            return new([]);
        }

        public ValueTask<IReadOnlyList<Row>> List(string org, string table, RowQuery query, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<IReadOnlyList<Row>>> Lists(string org, string table, IReadOnlyList<RowQuery> queries, CancellationToken ct) =>
            throw new NotSupportedException();

        public ValueTask<RowPage> Page(string org, string table, RowQuery query, long offset, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<MomentPage?> PageAt(string org, string table, MomentQuery query, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<PastRow>> Past(string org, string table, PastQuery query, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<long> CountPast(string org, string table, PastQuery query, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<long> Count(string org, string table, string status, long atMost, RowOwner? owner, CancellationToken ct) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<Row>> Search(string org, string table, string query, int limit, RowOwner? owner, string? status, RowShare? share, CancellationToken ct) =>
            throw new NotSupportedException();

        public Task<long> Rebuild(IRowModel model, CancellationToken ct) => throw new NotSupportedException();

        public Task<string?> FindDifference(IRowModel model, CancellationToken ct) => throw new NotSupportedException();
    }
}
