using System.Globalization;

using Cowork.Domain;
using Cowork.Web.Http;

using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;

namespace Cowork.Web.Endpoints.AgentService;

/// <summary>
/// How long a request waits for what it asks about. What its body or query says comes first, then the header <c>Prefer</c> with <c>wait</c> and
/// <c>respond-async</c> (RFC 7240), then the usual time; <see cref="HostSettings.WaitMax"/> bounds all of them.
/// </summary>
static class Waiting
{
    /// <summary>Names of the body's fields.</summary>
    public static readonly IReadOnlyList<string> Fields = ["wait_for_completion", "wait_timeout_seconds"];

    const double SecondsMax = 3600;
    const double SecondsDefault = 300;

    /// <summary>The time to wait for a run.</summary>
    /// <param name="waitsUnasked">A request that says nothing about it waits.</param>
    public static TimeSpan ForRun(HttpContext http, HostSettings settings, bool? waitForCompletion, double? waitTimeoutSeconds, bool waitsUnasked)
    {
        var preferred = (waitForCompletion, waitTimeoutSeconds) switch
        {
            (false, _) => TimeSpan.Zero,
            (true, { } seconds) => TimeSpan.FromSeconds(seconds),
            (true, null) => PreferredTime(http) ?? TimeSpan.FromSeconds(SecondsDefault),
            (null, { } seconds) => waitsUnasked ? TimeSpan.FromSeconds(seconds) : TimeSpan.Zero,
            (null, null) => PreferredTime(http) ?? PreferredAsync(http) ?? (waitsUnasked ? TimeSpan.FromSeconds(SecondsDefault) : TimeSpan.Zero),
        };
        return Bounded(preferred, settings);
    }

    /// <summary>The time to wait for an event.</summary>
    public static TimeSpan ForEvents(HttpContext http, HostSettings settings, WholeNumberQuery inQuery)
    {
        var preferred = http.Request.Query.ContainsKey(inQuery.Name) ? TimeSpan.FromSeconds(inQuery.Read(http)) : PreferredTime(http, inQuery.Max) ?? TimeSpan.Zero;
        return Bounded(preferred, settings);
    }

    static TimeSpan Bounded(TimeSpan asked, HostSettings settings) => asked < settings.WaitMax ? asked : settings.WaitMax;

    public static void Validate(string? idempotencyKey, double? waitTimeoutSeconds, ValidationErrors errors)
    {
        if (idempotencyKey is { Length: 0 or > Limits.IdempotencyKeyCharsMax })
        {
            errors.Add("$.idempotency_key", $"A key has 1 to {Limits.IdempotencyKeyCharsMax} characters.");
        }
        if (waitTimeoutSeconds is < 0 or > SecondsMax)
        {
            errors.Add("$.wait_timeout_seconds", $"Must be from 0 to {SecondsMax}.");
        }
    }

    /// <summary>A preference that is not well formed is none (RFC 7240, section 2).</summary>
    static TimeSpan? PreferredTime(HttpContext http, double secondsMax = SecondsMax)
    {
        if (SecondsOf(http.Request.Headers["Prefer"]) is not { } asked)
        {
            return null;
        }
        var applied = Math.Min(asked, secondsMax);
        Applied(http, string.Create(CultureInfo.InvariantCulture, $"wait={applied}"));
        return TimeSpan.FromSeconds(applied);
    }

    static double? SecondsOf(StringValues prefer)
    {
        try
        {
            return HeaderUtilities.TryParseSeconds(prefer, "wait", out var time) ? time?.TotalSeconds : null;
        }
        catch (ArgumentOutOfRangeException)
        {
            // The framework reads more seconds than a TimeSpan holds.
            return double.MaxValue;
        }
    }

    static TimeSpan? PreferredAsync(HttpContext http)
    {
        if (!HeaderUtilities.ContainsCacheDirective(http.Request.Headers["Prefer"], "respond-async"))
        {
            return null;
        }
        Applied(http, "respond-async");
        return TimeSpan.Zero;
    }

    static void Applied(HttpContext http, string preference) => http.Response.Headers["Preference-Applied"] = preference;
}
