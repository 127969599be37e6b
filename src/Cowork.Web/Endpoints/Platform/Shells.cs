using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.IO.Pipelines;
using System.Text.Json;
using System.Threading.Channels;

using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

namespace Cowork.Web.Endpoints.Platform;

/// <summary>An event of <c>GET /api/v1/shell/events</c>.</summary>
/// <param name="Type"><c>artifact.open</c>: the shell is to show the artifact.</param>
/// <param name="Url">Where its file is served, relative to this host.</param>
public sealed record ShellEvent(string Type, PlatformArtifactDetails Artifact, string Url)
{
    public const string Open = "artifact.open";
}

/// <summary>
/// The desktop shells that are connected to this host, by tenant. What they are told is not kept: a shell that connects later, or to another host, does not hear it.
/// </summary>
public sealed class Shells
{
    /// <summary>Events that wait for a shell that does not read; the next one is not delivered to it.</summary>
    const int WaitingMax = 64;

    readonly ConcurrentDictionary<string, ImmutableList<Channel<ShellEvent>>> shells = new();

    /// <summary>Connects a shell. It hears what is told from now on, until it is disposed.</summary>
    public Connection Connect(string org)
    {
        var channel = Channel.CreateBounded<ShellEvent>(WaitingMax);
        shells.AddOrUpdate(org, _ => [channel], (_, others) => others.Add(channel));
        return new(channel.Reader, () => Leave(org, channel));
    }

    /// <summary>Tells the tenant's shells, and answers how many were told.</summary>
    public int Tell(string org, ShellEvent what) => shells.TryGetValue(org, out var connected) ? connected.Count(shell => shell.Writer.TryWrite(what)) : 0;

    void Leave(string org, Channel<ShellEvent> channel)
    {
        var left = shells.AddOrUpdate(org, _ => [], (_, others) => others.Remove(channel));
        if (left.IsEmpty)
        {
            shells.TryRemove(new(org, left));
        }
    }

    /// <summary>A shell that is connected.</summary>
    public sealed class Connection(ChannelReader<ShellEvent> events, Action leave) : IDisposable
    {
        public ChannelReader<ShellEvent> Events => events;

        public void Dispose() => leave();
    }
}

static class ShellEndpoints
{
    public static void MapShells(this IEndpointRouteBuilder routes) => routes.MapGet("/shell/events", Follow).WithName("streamShellEvents").WithTags("Artifacts")
        .WithSummary("What the desktop shell is to show, as it is asked for (server-sent events)")
        .Produces<string>(200, "text/event-stream").Refuses(422);

    static async Task<IResult> Follow(
        HttpContext http, Caller caller, Shells shells, EventStream streams, HostSettings settings, TimeProvider clock, IHostApplicationLifetime lifetime)
    {
        var (place, full) = streams.Open(http);
        using var counted = place;
        if (place is null)
        {
            return full!;
        }
        EventStream.Begin(http);
        if (!HeadAsGet.IsHead(http))
        {
            using var over = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
            using var shell = shells.Connect(caller.Org);
            try
            {
                await Send(http.Response.BodyWriter, shell.Events, settings.KeepAlive, clock, over.Token);
            }
            catch (OperationCanceledException) when (over.IsCancellationRequested)
            {
                // The shell left or the host stops.
            }
        }
        return TypedResults.Empty;
    }

    static async Task Send(PipeWriter output, ChannelReader<ShellEvent> events, TimeSpan keepAlive, TimeProvider clock, CancellationToken ct)
    {
        output.Write("retry: 1000\n\n"u8);
        await output.FlushAsync(ct);
        var coming = events.WaitToReadAsync(ct).AsTask();
        while (true)
        {
            using (var enough = CancellationTokenSource.CreateLinkedTokenSource(ct))
            {
                await Task.WhenAny(coming, Task.Delay(keepAlive, clock, enough.Token));
                await enough.CancelAsync();
            }
            ct.ThrowIfCancellationRequested();
            if (!coming.IsCompleted)
            {
                output.Write(EventStream.Alive);
                await output.FlushAsync(ct);
                continue;
            }
            while (events.TryRead(out var what))
            {
                output.Write("event: artifact.open\ndata: "u8);
                output.Write(JsonSerializer.SerializeToUtf8Bytes(what, PlatformJson.Answers.ShellEvent));
                output.Write("\n\n"u8);
            }
            await output.FlushAsync(ct);
            coming = events.WaitToReadAsync(ct).AsTask();
        }
    }
}
