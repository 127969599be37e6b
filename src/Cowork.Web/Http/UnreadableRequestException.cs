namespace Cowork.Web.Http;

/// <summary>The request cannot be bound to the endpoint's parameters. Binding can only throw; endpoints return their errors.</summary>
public sealed class UnreadableRequestException : Exception
{
    public UnreadableRequestException()
        : this(ErrorResult.OfStatus(400))
    {
    }

    public UnreadableRequestException(string message)
        : this(new ErrorResult(400, "bad_request", message))
    {
    }

    public UnreadableRequestException(string message, Exception inner)
        : base(message, inner) => Error = new(400, "bad_request", message);

    public UnreadableRequestException(ErrorResult error)
        : base(error.Detail) => Error = error;

    public ErrorResult Error { get; }
}
