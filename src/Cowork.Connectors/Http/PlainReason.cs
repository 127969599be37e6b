using System.Net.Sockets;
using System.Security.Authentication;

using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>Says in a sentence for users why a source was not reached, without the words of exceptions, which tell of this host.</summary>
static class PlainReason
{
    /// <param name="what">The source, such as its host name.</param>
    public static string Of(Exception e, string what) => e switch
    {
        EgressException refused => refused.Message,
        HttpRequestException { InnerException: EgressException refused } => refused.Message,
        OperationCanceledException or TimeoutException => OutOfTime(what),
        HttpRequestException { HttpRequestError: HttpRequestError.SecureConnectionError } or HttpRequestException { InnerException: AuthenticationException }
            or AuthenticationException =>
            $"{what} has no TLS certificate that this host trusts.",
        HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError, InnerException: OperationCanceledException or TimeoutException } => OutOfTime(what),
        HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError, InnerException: SocketException { SocketErrorCode: SocketError.TimedOut } } => OutOfTime(what),
        HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError } or SocketException => $"{what} takes no connection.",
        HttpRequestException { HttpRequestError: HttpRequestError.ConfigurationLimitExceeded } => $"{what} answered with more headers than are read.",
        InvalidDataException => $"The answer of {what} is compressed and cannot be unpacked.",
        HttpRequestException { HttpRequestError: HttpRequestError.InvalidResponse } => $"{what} does not answer in HTTP.",
        _ => $"The connection to {what} broke off.",
    };

    /// <summary>Whether a reason can be given for it; else it is a bug.</summary>
    public static bool IsKnown(Exception e) =>
        e is EgressException or HttpRequestException or SocketException or IOException or InvalidDataException or AuthenticationException or OperationCanceledException
            or TimeoutException;

    /// <summary>The beginning of a text of others, in one line that shows what it is.</summary>
    public static string Quoted(string text, int charsMax = ConnectorLimits.ReasonCharsMax) => FileText.Truncate(VisibleText.Of(FileText.OneLine(text)), charsMax);

    static string OutOfTime(string what) => $"{what} did not answer in time.";
}
