using System.Diagnostics;
using System.Net.Sockets;
using System.Text;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Many clients that follow feeds, some of which stop reading and stay connected.</summary>
public sealed class StoppedReaderSpecs
{
    const int Quiet = 850;
    const int Live = 50;
    const int Stopped = 100;

    /// <summary>Each with a message and a reply of 60 KB: more for each reader than its socket's buffers hold.</summary>
    const int BulkyTurns = 40;
    const int QuietTurns = 20;

    /// <summary>By which the host may grow. What each stopped reader was sent is some 10 MB.</summary>
    const long GrowthMax = 300 << 20;

    [Fact]
    public async Task A_thousand_readers_of_which_a_hundred_stop_cost_little_memory_and_the_others_hear_everything()
    {
        await using var host = await HostProcess.Start(TestPostgres.NewDirectory(), await TestPostgres.NewDatabase());
        var (bulky, quiet) = (await host.Http.NewSession("bulky"), await host.Http.NewSession("quiet"));
        (await host.Http.Turn(bulky, "/say warm")).Is(200);
        using var http = new HttpClient(new SocketsHttpHandler()) { BaseAddress = new(host.Url), Timeout = Timeout.InfiniteTimeSpan };
        var (readers, stopped) = (new List<EventReader>(), new List<Socket>());
        try
        {
            for (var i = 0; i < Stopped; i++)
            {
                stopped.Add(await Stop(new Uri(host.Url), Stream(bulky)));
            }
            for (var i = 0; i < Live + Quiet; i++)
            {
                readers.Add(await EventReader.Open(http, Stream(i < Live ? bulky : quiet)));
            }
            var before = Memory(host);
            var says = new string('w', 60_000);
            await Task.WhenAll(
                Turns(bulky, BulkyTurns, $"/say {says}"),
                Turns(quiet, QuietTurns, "/say a word"));
            var (bulkyEnd, quietEnd) = (await Head(bulky), await Head(quiet));
            var heard = await Task.WhenAll(readers.Select((reader, i) => reader.Through(i < Live ? bulkyEnd : quietEnd)));
            Assert.All(heard, events => Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.Id)));
            // A busy machine collects garbage late: what the host still holds when it has had time to is what counts.
            var growth = 0L;
            await Patience.Until(
                async () =>
                {
                    await Head(bulky);
                    return (growth = Memory(host) - before) < GrowthMax;
                },
                () => $"It has grown by {growth >> 20} MiB.", $"the host has grown by less than {GrowthMax >> 20} MiB");

            // A reader that goes on where it stopped has missed nothing.
            await using var again = await EventReader.Open(http, Stream(bulky), lastEventId: 3);
            Assert.Equal(bulkyEnd - 3, (await again.Through(bulkyEnd)).Count);
            Assert.All(stopped, socket => Assert.True(socket.Connected));
        }
        finally
        {
            foreach (var reader in readers)
            {
                await reader.DisposeAsync();
            }
            stopped.ForEach(socket => socket.Dispose());
        }
        // What they held is given back, and the host works.
        Assert.Equal("still here", (await host.Http.Turn(quiet, "/say still here")).Is(200)["reply"]);

        async Task Turns(string session, int count, string message)
        {
            for (var i = 0; i < count; i++)
            {
                (await host.Http.Turn(session, message)).Is(200);
            }
        }

        async Task<long> Head(string session)
        {
            var since = 0L;
            while ((await host.Http.Get($"/sessions/{session}/events?since_id={since}&limit=1000")).Is(200).Json.GetProperty("next_since_id").GetInt64() is var next && next > since)
            {
                since = next;
            }
            return since;
        }
    }

    static string Stream(string session) => $"/sessions/{session}/events/stream?since_id=0";

    /// <summary>A client that asks for a stream and reads nothing of the answer.</summary>
    static async Task<Socket> Stop(Uri at, string path)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4_096 };
        await socket.ConnectAsync(at.Host, at.Port);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"GET {path} HTTP/1.1\r\nHost: {at.Authority}\r\n\r\n"));
        return socket;
    }

    /// <summary>Resident memory in bytes.</summary>
    static long Memory(HostProcess host)
    {
        using var process = Process.GetProcessById(host.Pid);
        return process.WorkingSet64;
    }
}
