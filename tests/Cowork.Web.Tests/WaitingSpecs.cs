using System.Text;

using Cowork.Testing;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using Yarp.ReverseProxy.Forwarder;

namespace Cowork.Web.Tests;

/// <summary>How long a request waits, and what its connection hears meanwhile.</summary>
public sealed class WaitingSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Theory]
    //          the header's own words           the body's                                  status  applied
    [InlineData("respond-async", "", 202, "respond-async")]
    [InlineData("Respond-Async; foo=\"x, y\"", "", 202, "respond-async")]
    [InlineData("return=minimal, respond-async", "", 202, "respond-async")]
    [InlineData("wait=0", "", 202, "wait=0")]
    [InlineData("respond-async, wait=30", "", 200, "wait=30")] // as the RFC has it: asynchronously, if it takes longer than that
    [InlineData("WAIT = 30", "", 200, "wait=30")]
    [InlineData("wait=100000", "", 200, "wait=3600")]
    [InlineData("wait=99999999999999", "", 200, "wait=3600")]
    [InlineData("wait=9223372036854775807", "", 200, "wait=3600")]
    [InlineData("wait=9223372036854775808", "", 200, null)]
    [InlineData("wait=soon", "", 200, null)]
    [InlineData("await=0", "", 200, null)]
    [InlineData("respond-asynchronously", "", 200, null)]
    [InlineData("wait=0, respond-async", ",\"wait_timeout_seconds\":30", 200, null)]
    [InlineData("wait=0", ",\"wait_for_completion\":true", 202, "wait=0")]
    [InlineData("respond-async", ",\"wait_for_completion\":true", 200, null)]
    [InlineData("wait=30", ",\"wait_for_completion\":false", 202, null)]
    public async Task A_preference_counts_where_the_body_is_silent(string prefer, string body, int status, string? applied)
    {
        var session = await http.NewSession();
        var message = status == 202 ? "/sleep 60000" : "/sleep 50";
        var turn = (await http.Post($"/sessions/{session}/turn", $$"""{"message":"{{message}}"{{body}}}""", ("Prefer", prefer))).Is(status);
        Assert.Equal(applied, turn.Headers.TryGetValues("Preference-Applied", out var said) ? said.Single() : null);
        Assert.Equal($"/runs/{turn["run_id"]}", turn.Headers.Location!.ToString());
        await http.Post($"/runs/{turn["run_id"]}/cancel");
    }

    [Fact]
    public async Task A_page_of_events_waits_as_preferred()
    {
        var session = await http.NewSession();
        var coming = http.Get($"/sessions/{session}/events?since_id=1", ("Prefer", "wait=1000"));
        await http.Turn(session, "/say hi");
        var page = (await coming).Is(200);
        Assert.Equal("wait=60", page.Headers.GetValues("Preference-Applied").Single());
        Assert.NotEqual("[]", page["events"]);
        var end = (await http.Get($"/sessions/{session}/events?limit=1000"))["next_since_id"];
        var none = (await http.Get($"/sessions/{session}/events?since_id={end}&wait_seconds=0", ("Prefer", "wait=60"))).Is(200);
        Assert.Equal(("[]", false), (none["events"], none.Headers.Contains("Preference-Applied")));
    }

    [Fact]
    public async Task An_answer_that_is_awaited_comes_through_a_proxy_that_cuts_what_is_idle()
    {
        await using var host = await LiveHost.Start(s => s with { TokenMode = true, KeepAlive = TimeSpan.FromMilliseconds(100) });
        await using var proxy = await ReverseProxy(host.Url, idle: Patience.Stretched(TimeSpan.FromSeconds(2)));
        using var operators = host.Client(host.AdminToken);
        // The first turn of a new host, which compiles what it runs, is not what the proxy is to time.
        var session = await operators.NewSession();
        (await operators.Turn(session, "/say hi")).Is(200);
        using var client = host.Client(host.AdminToken);
        client.BaseAddress = new(proxy.Urls.Single());

        var turn = (await client.Turn(session, "/sleep 4000\n/say done")).Is(200);
        Assert.StartsWith(" ", turn.Text);
        Assert.Equal(("completed", "application/json", $"/runs/{turn["run_id"]}"), (turn["status"], turn.ContentType, turn.Headers.Location!.ToString()));
        Assert.Contains("done", turn["reply"]);

        (await client.Get($"/sessions/{session}/events?since_id=1000&wait_seconds=2")).IsProblem(422, "cursor_ahead");
        var end = (await client.Get($"/sessions/{session}/events?limit=1000"))["next_since_id"];
        var empty = (await client.Get($"/sessions/{session}/events?since_id={end}&wait_seconds=3")).Is(200);
        Assert.Equal((true, "[]"), (empty.Text.StartsWith(' '), empty["events"]));
    }

    [Fact]
    public async Task The_same_answer_is_cut_by_that_proxy_when_the_host_keeps_silent()
    {
        await using var host = await LiveHost.Start(s => s with { TokenMode = true });
        await using var proxy = await ReverseProxy(host.Url, idle: TimeSpan.FromSeconds(1));
        using var operators = host.Client(host.AdminToken);
        // What the proxy answers is in no description of ours.
        using var client = new HttpClient(new SocketsHttpHandler { UseProxy = false }) { BaseAddress = new(proxy.Urls.Single()) };
        client.DefaultRequestHeaders.Authorization = operators.DefaultRequestHeaders.Authorization;
        (await client.Turn(await operators.NewSession(), "/sleep 60000")).Is(504);
    }

    /// <summary>YARP, with a limit for connections on which nothing happens, as all proxies have one.</summary>
    static async Task<WebApplication> ReverseProxy(string target, TimeSpan idle)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        builder.Services.AddHttpForwarder();
        var proxy = builder.Build();
        var limits = new ForwarderRequestConfig { ActivityTimeout = idle };
        proxy.MapForwarder("/{**all}", target, limits);
        await proxy.StartAsync();
        return proxy;
    }

    [Fact]
    public async Task A_wait_that_is_over_after_white_space_tells_the_state_in_its_body()
    {
        await using var host = await LiveHost.Start(s => s with { KeepAlive = TimeSpan.FromMilliseconds(50) });
        var session = await host.Http.NewSession();
        var turn = (await host.Http.Post($"/sessions/{session}/turn", """{"message":"/sleep 60000","wait_timeout_seconds":1}""", ("Idempotency-Key", "k"))).Is(200);
        Assert.Equal("running", turn["status"]);
        await host.Http.Post($"/runs/{turn["run_id"]}/cancel");
        var ended = (await host.Http.Post($"/sessions/{session}/turn", """{"message":"/sleep 60000","wait_timeout_seconds":1}""", ("Idempotency-Key", "k"))).Is(200);
        Assert.Equal((turn["run_id"], "cancelled"), (ended["run_id"], ended["status"]));
    }

    [Fact]
    public async Task No_request_waits_longer_than_the_host_lets_it()
    {
        await using var host = await LiveHost.Start(s => s with { WaitMax = TimeSpan.FromMilliseconds(200) });
        var session = await host.Http.NewSession();
        var turn = (await host.Http.Turn(session, "/sleep 60000")).Is(202);
        Assert.Equal($"/runs/{turn["run_id"]}", turn.Headers.Location!.ToString());
        var end = (await host.Http.Get($"/sessions/{session}/events?limit=1000"))["next_since_id"];
        Assert.Equal("[]", (await host.Http.Get($"/sessions/{session}/events?since_id={end}&wait_seconds=60")).Is(200)["events"]);
        await host.Http.Post($"/runs/{turn["run_id"]}/cancel");
    }

    [Fact]
    public async Task A_client_that_goes_away_during_white_space_does_not_stop_the_run()
    {
        await using var host = await LiveHost.Start(s => s with { KeepAlive = TimeSpan.FromMilliseconds(20) });
        var session = await host.Http.NewSession();
        using var request = new HttpRequestMessage(HttpMethod.Post, $"/sessions/{session}/turn");
        request.Content = new StringContent("""{"message":"/sleep 500\n/say done"}""", Encoding.UTF8, "application/json");
        var response = await host.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        var run = response.Headers.Location!.ToString();
        response.Dispose();
        Assert.Equal("completed", (await host.Http.Until(run, got => got["status"] is "completed" or "failed" or "cancelled"))["status"]);
    }
}
