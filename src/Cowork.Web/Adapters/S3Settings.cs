using Amazon;
using Amazon.Runtime;
using Amazon.S3;

namespace Cowork.Web;

/// <summary>Where blobs lie in a bucket. Configuration <c>Cowork:Blobs:S3</c>; docs/deploy.md.</summary>
/// <param name="Bucket">It exists; hosts make none.</param>
/// <param name="Endpoint">Address of a server that is not Amazon's; null: Amazon's for the region.</param>
/// <param name="Region">Null: that of the AWS chain (<c>AWS_REGION</c>, profile, machine), or <c>us-east-1</c> with an endpoint.</param>
/// <param name="AccessKey">Null: the credentials of the AWS chain.</param>
/// <param name="PathStyle">The bucket stands in the path, not in the name of the host.</param>
/// <param name="Prefix">What the names of all objects begin with: empty, or ending with a slash.</param>
public sealed record S3Settings(string Bucket, Uri? Endpoint, string? Region, string? AccessKey, string? SecretKey, bool PathStyle, string Prefix)
{
    /// <summary>For logs, which must not hold the secret.</summary>
    public override string ToString() => $"s3://{Bucket}/{Prefix}{(Endpoint is null ? "" : $" at {Endpoint}")}";

    /// <summary>A client of the bucket's server.</summary>
    /// <param name="timeout">A request waits for its answer as long.</param>
    public AmazonS3Client NewClient(TimeSpan timeout)
    {
        var config = new AmazonS3Config
        {
            ForcePathStyle = PathStyle,
            Timeout = timeout,
            MaxErrorRetry = 2,
            // Checksums of Amazon's own making are not what other servers expect. The digest of a blob is its name.
            RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED,
            ResponseChecksumValidation = ResponseChecksumValidation.WHEN_REQUIRED,
        };
        if (Endpoint is { } endpoint)
        {
            config.ServiceURL = endpoint.ToString();
            config.AuthenticationRegion = Region ?? "us-east-1";
        }
        else if (Region is { } region)
        {
            config.RegionEndpoint = RegionEndpoint.GetBySystemName(region);
        }
        return AccessKey is { } access ? new(new BasicAWSCredentials(access, SecretKey), config) : new(config);
    }

    /// <summary>Null: blobs lie in a folder.</summary>
    /// <exception cref="ArgumentException">A setting is missing or wrong.</exception>
    public static S3Settings? Read(IConfigurationSection s3)
    {
        if (!s3.GetChildren().Any())
        {
            return null;
        }
        var bucket = s3.Text("Bucket") ?? throw new ArgumentException($"{s3.Path}:Bucket is missing: blobs lie in a bucket, or without {s3.Path} in a folder.");
        var (access, secret) = (s3.Text("AccessKey"), s3.Text("SecretKey"));
        if (access is null != secret is null)
        {
            throw new ArgumentException($"{s3.Path}:AccessKey and {s3.Path}:SecretKey belong together. Without both the credentials come from the AWS chain.");
        }
        Uri? endpoint = null;
        if (s3.Text("Endpoint") is { } text && (!Uri.TryCreate(text, UriKind.Absolute, out endpoint) || endpoint.Scheme is not ("http" or "https")))
        {
            throw s3.InvalidValue("Endpoint", "an address like https://minio.example:9000");
        }
        var prefix = (s3.Text("Prefix") ?? "").Trim('/');
        return new(bucket, endpoint, s3.Text("Region"), access, secret, s3.Switch("PathStyle") ?? endpoint is not null, prefix.Length == 0 ? "" : prefix + "/");
    }
}
