using System.Globalization;

namespace Cowork.Bench;

/// <summary>Runs of many tool calls.</summary>
static class LongRun
{
    /// <summary>Events of a call: that it is asked for, the verdict of the policy and the result.</summary>
    const int EventsOfCall = 3;

    /// <summary>Events of a session with one run that calls no tool.</summary>
    const int OtherEvents = 12;

    /// <summary>Settings of a host that lets a run be as long as the longest here.</summary>
    public static IReadOnlyDictionary<string, string> Settings { get; } = new Dictionary<string, string>
    {
        ["Cowork__Runs__Limits__ToolCalls"] = "100000",
        ["Cowork__Runs__Limits__Tokens"] = "1000000000",
        ["Cowork__Runs__Limits__Time"] = "01:00:00",
    };

    /// <summary>What a turn says that has so many calls made.</summary>
    public static string Message(int calls) => string.Join('\n', Enumerable.Repeat("/tool list_files {}", calls));

    /// <summary>Makes a session of about so many events, with one run, and answers the run's id.</summary>
    public static async Task<string> Make(HostProcess host, int events)
    {
        var session = string.Create(CultureInfo.InvariantCulture, $"long-{events}");
        await host.Session(session);
        return await host.Turn(session, Message(Math.Max(1, (events - OtherEvents) / EventsOfCall)));
    }
}
